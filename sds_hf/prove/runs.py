"""The trainings of a proof: one an arm, seed and number of steps, each a whole file that later runs find."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from sds_hf.clip.launcher import Rank
from sds_hf.data.content import joint_digest
from sds_hf.files import write_whole
from sds_hf.prove.arms import Arm
from sds_hf.prove.segmenters.iou import Overlap
from sds_hf.prove.segmenters.training import Training, TrainingData, train
from sds_hf.table.team import finishing

POLL = 0.5  # seconds between two looks at what other processes have done
STEPS, EPOCHS = "steps", "epochs"


@dataclass(frozen=True)
class Run:
    """One training: which rows, how long, and with which seed."""

    arm: Arm
    seed: int
    steps: int


@dataclass(frozen=True)
class Result:
    """What a run achieved.

    Attributes:
        overlaps: on each evaluation set, by name.
        losses: mean of each tenth of the steps.
        seconds: of training and evaluation.
    """

    overlaps: dict[str, Overlap]
    losses: list[float]
    seconds: float


@dataclass(frozen=True)
class Regimes:
    """How long arms are trained.

    Attributes:
        steps: of the optimiser where every arm takes as many; None to leave this out.
        epochs: passes where every arm sees each of its rows as often; None to leave this out.
    """

    steps: int | None
    epochs: float | None

    def only(self, names: Sequence[str]) -> "Regimes":
        """Those of these names.

        Raises:
            ValueError: if there is no such regime, or none is named.
        """
        if not names or set(names) - {STEPS, EPOCHS}:
            raise ValueError(f"regimes must be {STEPS!r}, {EPOCHS!r} or both, not {list(names)}")
        return Regimes(self.steps if STEPS in names else None, self.epochs if EPOCHS in names else None)

    def of(self, size: int, batch_size: int) -> dict[str, int]:
        """Steps of an arm of this size, by regime."""
        by_regime = {STEPS: self.steps, EPOCHS: self.epochs and max(1, round(self.epochs * size / batch_size))}
        return {name: steps for name, steps in by_regime.items() if steps}


class Runs:
    """Results in a folder, each under a name that follows from all that made it.

    Args:
        folder: made if need be.
        data: what is trained on.
        training: how.
        contents: digests of the candidates and of the evaluation sets, by name.
    """

    def __init__(self, folder: Path, data: TrainingData, training: Training, contents: Mapping[str, str]) -> None:
        self.folder, self._data, self._training = folder, data, training
        self._identity = {**data.identity, "training": training.identity(), "contents": dict(contents)}

    def result(self, run: Run) -> Result | None:
        """The result of a run; None if there is none yet."""
        path = self._path(run)
        if not path.exists():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            overlaps = {name: Overlap.from_dict(counts) for name, counts in data["overlaps"].items()}
            return Result(overlaps, data["losses"], data["seconds"])
        except (ValueError, KeyError, TypeError):  # somebody else's file: made anew
            return None

    def left(self, runs: Sequence[Run]) -> list[Run]:
        """Those of the runs that have no result yet, each once."""
        return list({self._path(run): run for run in runs if self.result(run) is None}.values())

    def count(self, runs: Sequence[Run]) -> int:
        """Trainings that the runs need: those that are the same count once."""
        return len({self._path(run) for run in runs})

    def make(self, runs: Sequence[Run], rank: Rank, tell: Callable[[int], None]) -> None:
        """Make the runs that have no result; several processes share the work, whoever comes first takes a run.

        Args:
            runs: all of the proof.
            rank: of this process, which begins at its own part.
            tell: called with the number of steps that were done since the last call.

        Raises:
            KeyboardInterrupt: after Ctrl-C, when the run in hand is done.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with finishing("the training in hand") as stop_if_asked:
            while left := self.left(runs):
                start = rank.index * len(left) // rank.count
                trained = 0
                for run in left[start:] + left[:start]:
                    stop_if_asked()
                    trained += self._make_alone(run, tell)
                if not trained:
                    time.sleep(POLL)  # others are at work on the rest

    def _make_alone(self, run: Run, tell: Callable[[int], None]) -> bool:
        """Make a run unless somebody else has it in hand; whether it was made."""
        path = self._path(run)
        lock = FileLock(path.with_suffix(".lock"), timeout=0)
        try:
            with lock:
                if self.result(run) is None:
                    self._make(run, path, tell)
        except Timeout:
            return False
        with suppress(OSError):
            path.with_suffix(".lock").unlink(missing_ok=True)
        return True

    def _make(self, run: Run, path: Path, tell: Callable[[int], None]) -> None:
        start = time.perf_counter()
        rows = run.arm.rows_of(run.seed)
        network, losses = train(self._data, rows, run.steps, run.seed, self._training, tell)
        overlaps = self._data.evaluate(network, self._training)
        result = {
            **self._description(run),
            "overlaps": {name: overlap.to_dict() for name, overlap in overlaps.items()},
            "losses": losses,
            "seconds": round(time.perf_counter() - start, 2),
        }
        write_whole(path, json.dumps(result) + "\n")

    def _description(self, run: Run) -> dict[str, Any]:
        """Everything that decides a result: rows, not the arm's name."""
        rows = joint_digest([run.arm.rows_of(run.seed).astype(np.int64).tobytes()])
        return {**self._identity, "rows": rows, "count": run.arm.size, "seed": run.seed, "steps": run.steps}

    def _path(self, run: Run) -> Path:
        text = json.dumps(self._description(run), sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
