"""`prompt_mismatch`: classes that a row's prompt names and its mask lacks, and the reverse."""

from typing import ClassVar, Literal

import pyarrow as pa

from sds_hf.data.prompts import classes_in_prompt
from sds_hf.schema import settings
from sds_hf.scores.base.rows import Rows
from sds_hf.scores.base.score import Score, Values


@settings
class PromptMismatch(Score):
    """Whether the mask shows what was asked for.

    A generator that drops an object, draws another, or gives a mask the wrong class leaves a trace here; no model is
    asked. `prompt_mismatch < 1` keeps the rows whose two sides agree.

    Columns read:
        class_prompt: names of the classes that were asked for; or `caption`, see `prompt`.
        mask: class indices; or `classes`, a list of ids, if there is no mask.

    Columns written:
        prompt_mismatch: int32, number of classes on one side only; null if there is no prompt.
        prompt_missing: list of int32, classes that the prompt names and the mask lacks, ascending.
        prompt_unnamed: list of int32, classes of the mask that the prompt does not name.

    Args:
        prompt: the column that says what was asked for: `class_prompt`, or `caption`, where synonyms of a class's name
            are not understood.
        labels: see `Score`.

    Source:
        Ours. The prompts are those of Dataset Diffusion (Nguyen et al., NeurIPS 2023).

    Examples:
        >>> add_scores(candidates, PromptMismatch()).column_names[-2:]
        ['prompt_missing', 'prompt_unnamed']
    """

    name: ClassVar[str] = "prompt_mismatch"
    columns: ClassVar[dict[str, pa.DataType]] = {
        "prompt_mismatch": pa.int32(),
        "prompt_missing": pa.list_(pa.int32()),
        "prompt_unnamed": pa.list_(pa.int32()),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"class_prompt", "classes"})
    source: ClassVar[str] = "ours"

    prompt: Literal["class_prompt", "caption"] = "class_prompt"

    @property
    def reads(self) -> frozenset[str]:
        """See `Score.reads`."""
        return frozenset({self.prompt, "classes"})

    def compute(self, rows: Rows) -> dict[str, Values]:
        """See `Score.compute`."""
        prompts = rows.captions if self.prompt == "caption" else rows.cells["class_prompt"]
        values: dict[str, list[int | list[int] | None]] = {name: [] for name in self.columns}
        for row, prompt in enumerate(prompts):
            present = set(rows.classes_of(row))
            named = classes_in_prompt(prompt, rows.labels.names, rows.labels.class_ids) if prompt else None
            missing, unnamed = (None, None) if named is None else (sorted(named - present), sorted(present - named))
            values["prompt_missing"].append(missing)
            values["prompt_unnamed"].append(unnamed)
            values["prompt_mismatch"].append(None if named is None else len(named ^ present))
        return dict(values)
