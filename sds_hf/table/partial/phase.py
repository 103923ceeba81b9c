"""A table that is scored only as far as needed: one phase after the other, each a pass over the rows that are left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sds_hf.data.content import joint_digest
from sds_hf.scores.base.batches import all_columns
from sds_hf.scores.base.score import Score
from sds_hf.table.manifest import NEEDED
from sds_hf.table.partial.needs import Need, Needs, open_rows

PROGRESS = ("finished", "rows", "work")  # what an entry of the manifest says besides what the phases are for


@dataclass(frozen=True)
class Phase:
    """A pass over the rows that the rules so far have left.

    Attributes:
        needs: what decides a row in this phase.
        left: which rows of the table are left, (rows,) bool; all if None.
        number: of the phase, from 0.
        count: how many phases there are.
        wish: what the manifest says they are for, e.g. a recipe's name and rules; empty if everything is computed.
    """

    needs: Needs
    left: np.ndarray | None
    number: int
    count: int
    wish: Mapping[str, Any]

    @property
    def is_last(self) -> bool:
        """Whether the table is finished then."""
        return self.number + 1 == self.count

    @property
    def is_everything(self) -> bool:
        """Whether no value is skipped then."""
        return not self.wish

    def entry(self, finished: int) -> dict[str, Any]:
        """What the manifest says when so many phases are finished."""
        return {**self.wish, "phases": self.count, "finished": finished}

    def entries(self, old: Mapping[str, Any], retry: str | None) -> dict[str, Any]:
        """What a manifest says during the phase; a selection from a table that only gets further values holds."""
        repairs = bool(retry) and old.get("failed") != 0  # nobody knows of a table that is not finished
        joined = [] if repairs else list(old.get("joined", ()))
        if old.get("complete") and not repairs:
            joined.append(joint_digest(shard["sha256"].encode() for shard in old["shards"]))
        return {NEEDED: self.entry(self.number), **({"joined": joined} if joined else {})}

    def open_rows(self, scores: Sequence[Score], table: pa.Table) -> np.ndarray:
        """Rows of a shard that have not what is needed, (rows,) bool."""
        rows = open_rows(scores, self.needs, table)
        return rows if self.left is None else rows & self.left[table["row"].to_numpy()]

    def is_begun(self, manifest: Mapping[str, Any] | None) -> bool:
        """Whether the first process is at this phase or further."""
        return self._finished(manifest) >= self.number

    def is_over(self, manifest: Mapping[str, Any] | None) -> bool:
        """Whether the first process has seen the end of this phase."""
        return self._finished(manifest) > self.number

    def is_last_in(self, manifest: Mapping[str, Any]) -> bool:
        """Whether a finished table was made by these phases, so that nothing is to be written if nothing is open."""
        return self._finished(manifest) == self.count

    def _finished(self, manifest: Mapping[str, Any] | None) -> int:
        """How many of these phases are finished; -1 if the manifest is not of them."""
        if manifest is None:
            return -1
        entry = manifest.get(NEEDED)
        if entry is None:
            return self.count if self.is_everything and manifest.get("complete") else -1
        wish = {name: value for name, value in entry.items() if name not in PROGRESS}
        return entry["finished"] if wish == {**self.wish, "phases": self.count} else -1


def everything(scores: Sequence[Score]) -> Phase:
    """The phase after which no value is skipped."""
    return Phase((Need(tuple(all_columns(scores))),), None, 0, 1, {})
