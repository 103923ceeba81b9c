"""Scores as columns of a dataset, without touching its images."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from sds_hf.data.labels import LabelSpace, labels_of
from sds_hf.scores.base.score import Score, all_columns, columns_read, common_labels, score_batch
from sds_hf.scores.base.whole_set import fit_scores

if TYPE_CHECKING:
    from datasets import Dataset, Features, IterableDataset

AnyDataset = TypeVar("AnyDataset", "Dataset", "IterableDataset")


class Together:
    """Several scores as one function for `map`: each row is decoded once and encoder passes are shared."""

    def __init__(self, scores: Sequence[Score], labels: LabelSpace | None = None) -> None:
        self.scores, self.labels = tuple(scores), labels

    def __call__(self, batch: Mapping[str, Any], *extra: Any) -> dict[str, Any]:
        """See `score_batch`."""
        return score_batch(self.scores, batch, *extra, labels=self.labels)

    def __reduce__(self) -> tuple[Any, ...]:
        return Together, (self.scores, self.labels)

    def digest(self) -> str:
        """What decides the numbers, as a hash."""
        labels = asdict(self.labels) if self.labels else None
        identity = [labels, [score.identity() for score in self.scores]]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def add_scores(
    dataset: AnyDataset, *scores: Score, batch_size: int | None = None, num_proc: int | None = None
) -> AnyDataset:
    """Add the columns of scores to a dataset: one decode a row, encoder passes shared, images untouched.

    Scores that need statistics of the whole set, e.g. `TFDP`, are fitted to the dataset first, all in one pass.

    Only the new columns are computed and cached; columns of the same names are replaced. Rows that cannot be scored get
    nulls and one warning sums them up.

    Args:
        dataset: with the columns `image` and `mask` (or `classes` where the mask is not needed). A stream's images stay
            untouched only after `cast_column("image", Image(decode=False))`.
        *scores: what to add, e.g. `pcs_score, asf_miou`.
        batch_size: rows at a time; it does not change the numbers and does not invalidate the cache. By default 32, on
            a GPU 256.
        num_proc: processes, as in `Dataset.map`.

    Returns:
        The dataset with the columns of the scores.

    Raises:
        ValueError: if no score is given, a column is missing, the label space is not known, a model cannot be had.
    """
    from datasets import Features, IterableDataset, concatenate_datasets

    from sds_hf.clip.device import default_batch_size

    if not scores:
        raise ValueError("add_scores needs at least one score, e.g. add_scores(dataset, pcs_score, asf_miou)")
    batch_size = batch_size or default_batch_size()
    labels = labels_of(dataset.features, common_labels(scores))
    scores = tuple(fit_scores(scores, dataset, labels, num_proc))
    together = Together(scores, labels)
    new = score_features(scores)
    if isinstance(dataset, IterableDataset):
        features = Features({**(dataset.features or {}), **new}) if dataset.features else None
        return dataset.map(together, batched=True, batch_size=batch_size, features=features)
    inputs = dataset.select_columns([name for name in columns_read(scores) if name in dataset.column_names])
    fingerprint = hashlib.sha256(f"{inputs._fingerprint}|{together.digest()}".encode()).hexdigest()[:32]
    scored = inputs.map(
        together,
        batched=True,
        batch_size=batch_size,
        with_rank=True,
        num_proc=num_proc,
        remove_columns=inputs.column_names,
        features=new,
        new_fingerprint=fingerprint,
        desc=" + ".join(score.name for score in scores),
    )
    kept = dataset.remove_columns([name for name in new if name in dataset.column_names])
    return _recorded(concatenate_datasets([kept, scored], axis=1), scores, labels)


RECORD = "Scored with sds-hf: "  # begins a line of a dataset's description


def _recorded(dataset: "Dataset", scores: Sequence[Score], labels: LabelSpace) -> "Dataset":
    """The dataset with a line in its description that says how its scores were computed."""
    from sds_hf.clip.device import current_device

    record = {
        "scores": [{**score.identity(), "labels": labels.name} for score in scores],
        "models": {name: about for score in scores for name, about in score.models().items()},
        "labels": asdict(labels),
        "notes": [note for score in scores for note in score.notes()],
        "device": str(current_device()),
    }
    told = dataset.info.description
    dataset.info.description = f"{told}\n" * bool(told) + RECORD + json.dumps(record)
    return dataset


def recorded_scores(dataset: "Dataset") -> dict[str, Any]:
    """How the scores in a dataset were computed, as far as its description says: settings, models, labels and notes."""
    record: dict[str, Any] = {"scores": [], "models": {}, "notes": []}
    by_name: dict[str, Any] = {}
    for line in (dataset.info.description or "").splitlines():
        if line.startswith(RECORD):
            told = json.loads(line.removeprefix(RECORD))
            by_name |= {identity["score"]: identity for identity in told["scores"]}
            record["models"] |= told["models"]
            record["notes"] = list(dict.fromkeys([*record["notes"], *told["notes"]]))
            record |= {"labels": told["labels"], "device": told["device"]}
    record["scores"] = list(by_name.values())
    if not by_name:
        record["notes"] = ["how the scores were computed is not recorded: only those of `add_scores` and `score` are"]
    return record


def score_features(scores: Sequence[Score]) -> "Features":
    """Features of the columns that scores write."""
    from datasets import Features
    from datasets.features.features import generate_from_arrow_type

    return Features({name: generate_from_arrow_type(dtype) for name, dtype in all_columns(scores).items()})
