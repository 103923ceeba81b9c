"""Scores as columns of a dataset, without touching its images."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pyarrow as pa

from sds_hf.data.cells import undecoded
from sds_hf.data.content import named_files_state
from sds_hf.data.labels import LabelSpace, labels_of
from sds_hf.errors import short
from sds_hf.scores.base.batches import AllFailedError, all_columns, columns_read, common_labels, warn_of_failures
from sds_hf.scores.base.catalog import ScoreLike, scores_of
from sds_hf.scores.base.score import ERROR, Score, read_cells, score_batch
from sds_hf.scores.base.whole_set import fit_scores

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, Features, IterableDataset, IterableDatasetDict

AnyDataset = TypeVar("AnyDataset", "Dataset", "IterableDataset", "DatasetDict", "IterableDatasetDict")


class Together:
    """Several scores as one function for `map`: each row is decoded once and encoder passes are shared."""

    def __init__(self, scores: Sequence[Score], labels: LabelSpace | None = None, with_errors: bool = False) -> None:
        self.scores, self.labels, self.with_errors = tuple(scores), labels, with_errors

    def __call__(self, batch: Mapping[str, Any], *extra: Any) -> Any:
        """See `score_batch`."""
        return score_batch(self.scores, batch, *extra, labels=self.labels, with_errors=self.with_errors)

    def __reduce__(self) -> tuple[Any, ...]:
        return Together, (self.scores, self.labels, self.with_errors)

    def digest(self) -> str:
        """What decides the numbers, as a hash."""
        labels = asdict(self.labels) if self.labels else None
        identity = [labels, [score.identity() for score in self.scores]]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def add_scores(
    dataset: AnyDataset, *scores: ScoreLike, batch_size: int | None = None, num_proc: int | None = None
) -> AnyDataset:
    """Add the columns of scores to a dataset: one decode a row, encoder passes shared, images untouched.

    Scores that need statistics of the whole set, e.g. `TFDP`, are fitted to the dataset first, all in one pass.

    Only the new columns are computed and cached; columns of the same names are replaced. Rows that cannot be scored get
    nulls and one warning sums them up; such a result is not cached. The format of the dataset is kept.

    Args:
        dataset: with the columns `image` and `mask` (or `classes` where the mask is not needed). Each split of a
            `DatasetDict` is scored by itself, so that scores of the whole set are fitted to each.
        *scores: what to add, e.g. `pcs_score, asf_miou`; names such as `"pcs"`, classes such as `PCS` and lists of
            these stand for scores with their default settings.
        batch_size: rows at a time; it does not change the numbers and does not invalidate the cache. By default 32, on
            a GPU 256.
        num_proc: processes, as in `Dataset.map`.

    Returns:
        The dataset with the columns of the scores.

    Raises:
        ValueError: if no score is given, or something that is no score or no dataset, a column is missing, the label
            space is not known, a model cannot be had, or not one row of a `Dataset` can be scored.

    Examples:
        >>> add_scores(candidates, "boundary", "classes_present").column_names[-3:]
        ['boundary_class', 'classes_present', 'num_classes_present']
        >>> add_scores(candidates, PCS(model="demo", orders=1), Boundary).column_names[-4:]
        ['clip_sim_mixed', 'pcs', 'boundary', 'boundary_class']
    """
    from datasets import Dataset, IterableDataset

    if not isinstance(dataset, (Dataset, IterableDataset, dict)):
        raise ValueError(
            f"add_scores takes a Dataset, an IterableDataset or a DatasetDict, then scores, not {short(dataset)}: open "
            "it first, e.g. with load_dataset"
        )
    chosen = scores_of(scores)
    if not chosen:
        raise ValueError("add_scores needs at least one score, e.g. add_scores(dataset, pcs_score, asf_miou)")
    if isinstance(dataset, dict):
        splits = {name: _with_scores(split, chosen, batch_size, num_proc) for name, split in dataset.items()}
        return cast(AnyDataset, type(dataset)(splits))
    return cast(AnyDataset, _with_scores(dataset, chosen, batch_size, num_proc))


def _with_scores(
    dataset: "Dataset | IterableDataset", scores: Sequence[Score], batch_size: int | None, num_proc: int | None
) -> "Dataset | IterableDataset":
    from datasets import IterableDataset

    from sds_hf.clip.device import default_batch_size

    batch_size = batch_size or default_batch_size()
    labels = labels_of(dataset.features, common_labels(scores))
    if dataset.column_names:
        read_cells(scores, {name: [] for name in dataset.column_names}, labels)  # refuse a missing column early
    scores = fit_scores(scores, dataset, labels, num_proc)
    if isinstance(dataset, IterableDataset):
        return _of_stream(dataset, Together(scores, labels), batch_size)
    return _of_dataset(dataset, Together(scores, labels, with_errors=True), batch_size, num_proc)


def _of_dataset(dataset: "Dataset", together: Together, batch_size: int, num_proc: int | None) -> "Dataset":
    from datasets import Dataset, Features, Value, concatenate_datasets

    new = score_features(together.scores)
    plain = dataset if dataset.format["type"] is None else dataset.with_format(None)
    kept = plain.remove_columns([name for name in new if name in plain.column_names])
    if not len(dataset):  # `map` of no rows adds no columns
        features = Features({**kept.features, **new})
        return _formatted(Dataset.from_dict({name: [] for name in features}, features=features), dataset)
    columns = columns_read(together.scores)
    inputs = plain.select_columns([name for name in columns if name in plain.column_names])
    parts = (inputs._fingerprint, together.digest(), named_files_state(inputs, columns))
    computed = inputs.map(
        together,
        batched=True,
        batch_size=batch_size,
        with_rank=True,
        num_proc=num_proc,
        remove_columns=inputs.column_names,
        features=Features({**new, ERROR: Value("string")}),
        new_fingerprint=hashlib.sha256("|".join(filter(None, parts)).encode()).hexdigest()[:32],
        desc=" + ".join(score.name for score in together.scores),
    )
    errors = computed.data.column(ERROR).drop_null()
    if len(errors):  # rows that failed may be repaired by the next time
        computed = _out_of_cache(computed, inputs)
        if len(errors) == len(dataset):
            raise AllFailedError(len(dataset), errors[0].as_py())
        warn_of_failures(len(errors), errors[0].as_py())
    scored = concatenate_datasets([kept, computed.remove_columns(ERROR)], axis=1)
    return _formatted(_recorded(scored, together), dataset)


RECORD = "Scored with sds-hf: "  # begins a line of a dataset's description


def _recorded(dataset: "Dataset", together: Together) -> "Dataset":
    """The dataset with a line in its description that says how its scores were computed."""
    from sds_hf.clip.device import current_device

    scores, labels = together.scores, together.labels
    record = {
        "scores": [{**score.identity(), "labels": labels.name if labels else None} for score in scores],
        "models": {name: about for score in scores for name, about in score.models().items()},
        "labels": asdict(labels) if labels else None,
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


def _out_of_cache(computed: "Dataset", inputs: "Dataset") -> "Dataset":
    """The same in memory; its files are removed, so that it is computed again the next time."""
    from datasets import Dataset

    table = pa.table(computed.with_format("arrow")[:].to_pydict(), schema=computed.features.arrow_schema)
    inputs_files = {file["filename"] for file in inputs.cache_files}
    for file in computed.cache_files:
        if file["filename"] not in inputs_files:
            Path(file["filename"]).unlink(missing_ok=True)
    return Dataset(table, info=computed.info, fingerprint=computed._fingerprint)


def _formatted(scored: "Dataset", like: "Dataset") -> "Dataset":
    """The scored dataset in the format of the other, which covers the new columns too."""
    form = like.format
    if form["type"] is None:
        return scored
    covered = [name for name in scored.column_names if name in form["columns"] or name not in like.column_names]
    columns = None if covered == scored.column_names else covered
    options = {"output_all_columns": form["output_all_columns"], **form["format_kwargs"]}
    return scored.with_format(form["type"], columns=columns, **options)


def _of_stream(stream: "IterableDataset", together: Together, batch_size: int) -> "IterableDataset":
    """The stream with the scores; its pictures are not decoded on the way, so they stay as they are stored."""
    from datasets import Features

    form, features, new = stream._formatting, stream.features, score_features(together.scores)
    stream = undecoded(stream)
    stored = Features({**stream.features, **new}) if features else None
    stream = stream.map(together, batched=True, batch_size=batch_size, features=stored)
    stream = stream.cast(Features({**features, **new})) if features else stream
    return stream.with_format(form.format_type) if form else stream


def score_features(scores: Sequence[Score]) -> "Features":
    """Features of the columns that scores write."""
    from datasets import Features
    from datasets.features.features import generate_from_arrow_type

    return Features({name: generate_from_arrow_type(dtype) for name, dtype in all_columns(scores).items()})
