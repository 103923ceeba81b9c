"""`prove_subset`: the same segmenter trained on the full set, on each selection, and on as many rows at random."""

import importlib.metadata
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from sds_hf.clip.device import current_device, dtype_name, resolve_dtype
from sds_hf.clip.launcher import current_rank, rank_together
from sds_hf.data.content import content_digest
from sds_hf.data.labels import LabelSpace, labels_of
from sds_hf.files import write_whole
from sds_hf.progress import Watch, nothing
from sds_hf.prove.arms import Arms, check_apart, make_arms
from sds_hf.prove.results.proof import Proof, make_proof
from sds_hf.prove.runs import EPOCHS, STEPS, Regimes, Run, Runs
from sds_hf.prove.segmenters.efficientnet import NAME as DEFAULT_BACKBONE
from sds_hf.prove.segmenters.training import Training, TrainingData, Trial, optimizer_of, take_step
from sds_hf.selection.recipe import Recipe

if TYPE_CHECKING:
    from datasets import Dataset

    from sds_hf.table.score_table import ScoreTable

Depth = Literal["probe", "full"]
RESULTS, RUNS = "results.json", "runs"
DEFAULT_STEPS = {"probe": 600, "full": 4000}
SEGMENTER = "unet"
TRIAL_ROWS, TRIAL_STEPS = 16, 4
PACKAGES = ("torch", "transformers", "datasets", "numpy")
# By depth: what suits a small network from scratch, and a decoder on frozen features.
TRAINING = {
    "probe": Training(),
    "full": Training(learning_rate=3e-3, weight_decay=1e-2, backbone_rate=0.1),
}


@dataclass(frozen=True)
class Plan:
    """What a proof would do.

    Attributes:
        arms: what would be trained.
        runs: trainings.
        runs_left: those without a result yet.
        steps_left: of the optimiser, all together.
        seconds_per_step: measured on a few.
        rows_left: rows whose features are to be computed.
        seconds_per_row: measured on a few.
        seconds: for all that is left.
        device: where.
    """

    arms: Arms
    runs: int
    runs_left: int
    steps_left: int
    seconds_per_step: float
    rows_left: int
    seconds_per_row: float
    seconds: float
    device: str


class Experiment:
    """What is asked: arms, data, how long and how often. See `prove_subset` for the arguments."""

    def __init__(
        self,
        dataset: "Dataset",
        scores: "ScoreTable | Dataset | str | Path",
        evaluation: "Dataset | Mapping[str, Dataset]",
        out: str | Path,
        *,
        recipes: Sequence[Recipe | str] = ("sds-paper",),
        sizes: Sequence[float] = (),
        truth: str | None = "defect",
        depth: Depth = "probe",
        model: str | None = None,
        seeds: int = 5,
        steps: int | None = None,
        epochs: float | None = None,
        regimes: Sequence[str] = (STEPS, EPOCHS),
        side: int | None = None,
        stride: int | None = None,
        scales: tuple[float, float] | None = None,
        training: Training | None = None,
        labels: str = "auto",
        source: str = "",
    ) -> None:
        if depth not in TRAINING:
            raise ValueError(f"depth must be one of {', '.join(TRAINING)}, not {depth!r}")
        if seeds < 1 or (steps or 1) < 1 or (epochs or 1) <= 0:
            raise ValueError("seeds and steps must be at least 1, and epochs above 0")
        if bad := [size for size in sizes if not 0 < size <= 1]:
            raise ValueError(f"sizes are shares of the candidates, above 0 and at most 1; not {bad[0]}")
        self.evaluation = evaluation if isinstance(evaluation, Mapping) else {"evaluation": evaluation}
        self._dataset = dataset
        self.labels = _common_labels(dataset, self.evaluation, labels)
        chosen = [recipe if isinstance(recipe, Recipe) else Recipe.load(recipe) for recipe in recipes]
        self.arms = make_arms(dataset, scores, chosen, sizes, truth)
        self.training = training or TRAINING[depth]
        self.regimes = _regimes(steps, epochs, self.arms, self.training, DEFAULT_STEPS[depth]).only(regimes)
        self.seeds, self.out = range(seeds), Path(out)
        self.model = model or (DEFAULT_BACKBONE if depth == "probe" else SEGMENTER)
        self.data = _training_data(depth, dataset, self.evaluation, self.labels, self.model, side, stride, scales)
        rules = {recipe.name: [rule.label for rule in recipe.rules] for recipe in chosen}
        self._described = {"source": source, "rows": len(dataset), "depth": depth, "recipes": rules}
        contents = {"dataset": content_digest(dataset, ("image", "mask"))}
        contents |= {name: content_digest(chosen, ("image", "mask")) for name, chosen in self.evaluation.items()}
        self.runs = Runs(self.out / RUNS, self.data, self.training, contents)

    def all_runs(self) -> dict[tuple[str, str], list[Run]]:
        """The runs by regime and arm, one a seed."""
        by_name: dict[tuple[str, str], list[Run]] = {}
        for arm in self.arms.arms:
            for regime, steps in self.regimes.of(arm.size, self.training.batch_size).items():
                by_name[regime, arm.name] = [Run(arm, seed, steps) for seed in self.seeds]
        return dict(sorted(by_name.items(), key=lambda item: item[0][0] != "steps"))

    def in_order(self) -> list[Run]:
        """All runs, one seed after another, so that what is there at any time is a proof of fewer seeds."""
        return [run for seed in zip(*self.all_runs().values(), strict=True) for run in seed]

    def plan(self) -> Plan:
        """What is left to do, and how long it takes as measured on a few rows and steps."""
        runs = self.in_order()
        left, count = self.runs.left(runs), self.runs.count(runs)
        steps = sum(run.steps for run in left)
        if not left:
            return Plan(self.arms, count, 0, 0, 0.0, 0, 0.0, 0.0, str(current_device()))
        trial = self.data.trial(min(TRIAL_ROWS, self.training.batch_size), self.training)
        step_seconds = self._step_seconds(trial) + trial.batch_seconds
        seconds = steps * step_seconds + len(left) * trial.evaluation_seconds + trial.rows_left * trial.row_seconds
        return Plan(
            self.arms, count, len(left), steps, step_seconds, trial.rows_left, trial.row_seconds, seconds,
            str(current_device()),
        )  # fmt: skip

    def _step_seconds(self, trial: Trial) -> float:
        """Of one step, the first, which warms up, apart."""
        network, (inputs, masks) = self.data.network().train(), trial.batch
        optimizer, _ = optimizer_of(network, TRIAL_STEPS, self.training)
        take_step(network, inputs, masks, optimizer, self.training)
        start = time.perf_counter()
        for _ in range(TRIAL_STEPS):
            loss = take_step(network, inputs, masks, optimizer, self.training)
        loss.item()  # waits for a GPU
        return (time.perf_counter() - start) / TRIAL_STEPS * self.training.batch_size / len(masks)

    def run(self, watch: Watch = nothing) -> Proof:
        """Train what has no result yet, and sum up."""
        rank, runs = rank_together("a proof"), self.in_order()
        watch_of_rank = watch if rank.index == 0 else nothing
        if left := self.runs.left(runs):
            check_apart(self._dataset, self.evaluation)
            self.data.prepare(watch_of_rank)
            total = sum(run.steps for run in left)
            with watch_of_rank("training", total, str(current_device())) as tell:
                count = 0

                def add(steps: int) -> None:
                    nonlocal count
                    count += steps
                    tell(count, 0)

                self.runs.make(runs, rank, add)
        return self.summary()

    def summary(self) -> Proof:
        """The proof by the results there are.

        Raises:
            ValueError: if there is none of an arm.
        """
        runs = self.all_runs()
        by_seed = {name: [self.runs.result(run) for run in chosen] for name, chosen in runs.items()}
        # A difference is one of equal seeds: only those that all arms have count.
        seeds = [seed for seed in self.seeds if all(results[seed] for results in by_seed.values())]
        if not seeds:
            raise ValueError(f"no results in {self.out} of all arms yet; run the same command again to go on")
        results = {
            name: (runs[name][0].steps, [result for seed in seeds if (result := every[seed])])
            for name, every in by_seed.items()
        }
        return make_proof(self.arms.arms, results, self.arms.missing, self.labels.names, self._settings(len(seeds)))

    def _settings(self, seeds: int) -> dict[str, Any]:
        versions = {name: importlib.metadata.version(name) for name in PACKAGES}
        device = current_device()
        return {
            **self._described,
            "candidates": self.arms.candidates,
            "evaluation": {name: len(chosen) for name, chosen in self.evaluation.items()},
            "model": self.model,
            **{name: value for name, value in self.data.identity.items() if name in ("side", "stride", "scales")},
            "training": self.training.identity(),
            "seeds": seeds,
            "steps": self.regimes.steps,
            "epochs": self.regimes.epochs,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "dtype": dtype_name(resolve_dtype(self.training.dtype, device)),
            "versions": versions,
        }


def prove_subset(
    dataset: "Dataset",
    scores: "ScoreTable | Dataset | str | Path",
    evaluation: "Dataset | Mapping[str, Dataset]",
    out: str | Path,
    *,
    recipes: Sequence[Recipe | str] = ("sds-paper",),
    sizes: Sequence[float] = (),
    truth: str | None = "defect",
    depth: Depth = "probe",
    model: str | None = None,
    seeds: int = 5,
    steps: int | None = None,
    epochs: float | None = None,
    regimes: Sequence[str] = (STEPS, EPOCHS),
    side: int | None = None,
    stride: int | None = None,
    scales: tuple[float, float] | None = None,
    training: Training | None = None,
    labels: str = "auto",
    source: str = "",
    watch: Watch = nothing,
) -> Proof:
    """Train the same segmenter on the full set, on each selection and on as many rows at random, and compare.

    Each training, of one arm, seed and length, is a file in `out/runs`; run again, finished ones are found. Under
    `accelerate launch` the processes share the trainings, each on its own device.

    Args:
        dataset: rows with `image` and `mask`: all candidates; of a published set only what was kept, and then what
            needs the others is said to be missing.
        scores: of all candidates, as for `select`; matched with the dataset by `id`. A column `kept`, as the scores of
            a published set have it, becomes the arm `published`.
        evaluation: rows with `image` and `mask` that no arm is trained on, or several such sets by name.
        out: folder of the results: `results.json`, `report.md`, `proof.png`.
        recipes: names, files or recipes; each becomes an arm.
        sizes: shares of the candidates in (0, 1]; each recipe is also resized to each.
        truth: column that is null for rows without a defect, for the arm `clean`; not used if there is no such column.
        depth: `probe`, a small decoder on features of a frozen backbone, or `full`, a whole segmenter.
        model: the backbone of a probe (`efficientnet-lite0`, `demo`, a folder or Hub id of a vision model), or the
            segmenter of a full training (`unet`, `segformer`, `upernet`, `mask2former`, `deeplabv3+`, `deeplabv3`, a
            folder or Hub id).
        seeds: how often each arm is trained; seed s draws the same first weights in every arm.
        steps: of the optimiser in the regime of equal steps; 600 for a probe and 4,000 for a full training if this and
            `epochs` are None.
        epochs: passes over an arm's rows in the regime of equal epochs; as many as `steps` are on the full set if None.
        regimes: `steps`, where every arm takes as many, and `epochs`, where all see their rows as often; one or both.
        side: of the pictures in pixels; what suits the model if None.
        stride: of the finest features a probe looks at, 8 pixels if None; 16 costs a third of the time.
        scales: lowest and highest of a picture before a full training crops it, (0.5, 2.0) if None; near 1 a network
            from scratch learns small sets of small pictures in half the steps.
        training: how; what suits the depth if None.
        labels: label space of the masks.
        source: what to call the dataset in the report.
        watch: shows progress.

    Returns:
        Mean IoU of each arm in percent by seed and class, and paired differences with 95 % intervals.

    Raises:
        ValueError: if rows cannot be matched or read, a picture to evaluate on is among the candidates, masks mean
            different things, or a model cannot be had.
        ModuleNotFoundError: if the extra `prove` is needed and not installed.

    Examples:
        >>> test = Dataset.from_list(list(demo_rows(8, seed=1)), features=demo_features())
        >>> proof = prove_subset(candidates, table, test, "proof", recipes=[recipe], model="demo", seeds=1, epochs=1)
        >>> [arm.name for arm in proof.arms]
        ['full', 'mine', 'clean', 'random 14']
    """
    experiment = Experiment(
        dataset, scores, evaluation, out, recipes=recipes, sizes=sizes, truth=truth, depth=depth, model=model,
        seeds=seeds, steps=steps, epochs=epochs, regimes=regimes, side=side, stride=stride, scales=scales,
        training=training, labels=labels, source=source,
    )  # fmt: skip
    proof = experiment.run(watch)
    if current_rank().index == 0:
        write_proof(proof, experiment.out)
    return proof


def write_proof(proof: Proof, out: Path) -> None:
    """Write `results.json`, `report.md`, the section for a card, and `proof.png`."""
    from sds_hf.prove.results.picture import draw_proof
    from sds_hf.prove.results.report import proof_section

    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / RESULTS, json.dumps(proof.to_dict(), indent=1, ensure_ascii=False) + "\n")
    write_whole(out / "report.md", proof_section(proof))
    draw_proof(proof, out / "proof.png")


def _regimes(steps: int | None, epochs: float | None, arms: Arms, training: Training, default: int) -> Regimes:
    """Both regimes, so that the full set is trained as long in either unless both numbers are given."""
    full = max(arm.size for arm in arms.arms)
    if steps is None and epochs is None:
        steps = default
    if epochs is None and steps is not None:
        epochs = steps * training.batch_size / full
    elif steps is None and epochs is not None:
        steps = max(1, round(epochs * full / training.batch_size))
    return Regimes(steps, epochs)


def _common_labels(dataset: "Dataset", evaluation: Mapping[str, "Dataset"], name: str) -> LabelSpace:
    """What the masks mean, in the candidates and in the evaluation sets alike.

    Raises:
        ValueError: if they differ.
    """
    labels = labels_of(dataset.features, name)
    for title, chosen in evaluation.items():
        other = labels_of(chosen.features, name)
        if other.names != labels.names:
            raise ValueError(
                f"masks of the candidates mean {len(labels.names)} classes ({labels.name}), those of {title} "
                f"{len(other.names)} ({other.name}); give sets of the same classes, or labels=... if a name is wrong"
            )
    return labels


def _training_data(
    depth: Depth, dataset: "Dataset", evaluation: Mapping[str, "Dataset"], labels: LabelSpace, model: str,
    side: int | None,
    stride: int | None = None,
    scales: tuple[float, float] | None = None,
) -> TrainingData:  # fmt: skip
    if depth == "probe":
        from sds_hf.prove.segmenters.probe import Probe

        return Probe(dataset, evaluation, labels, model, side, stride)
    from sds_hf.prove.segmenters.pictures import Pictures

    return Pictures(dataset, evaluation, labels, model, side, scales)
