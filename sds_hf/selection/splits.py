"""Splits for semi-supervised training on data that is partly synthetic: who is labelled, real, synthetic or unsure."""

from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, Sequence, Value, concatenate_datasets
from datasets.features import Features

MAIN, DUMMY = "main", "dummy"  # the heads of a classifier that samples train
CLASS_COLUMNS = ("pseudo_class", "classes_present", "classes")
SPLITS = ("labeled", "unlabeled_real", "unlabeled_synthetic", "unlabeled_unsure")


def split_unlabeled(
    dataset: Dataset, real_col: str = "real_prob", lo: float = 0.3, hi: float = 0.7, labeled_col: str = "labeled"
) -> DatasetDict:
    """Split a pool of images by whether they are labelled, and how likely they are real.

    What is known of a row overrides its probability: `is_synthetic` true or false, if the dataset has that column.

    Args:
        dataset: with `image`, `real_col`, and `pseudo_class`, `classes_present` or `classes`; `id`, `difficulty`,
            `is_synthetic` and `generator` are taken over, null if they are missing.
        real_col: column with the probability that a row is real.
        lo: rows up to this probability are synthetic.
        hi: rows from this probability on are real.
        labeled_col: bool column of rows whose mask is to be trusted; if it is missing, none is.

    Returns:
        `labeled` (with `mask`, if there is one), `unlabeled_real`, `unlabeled_synthetic`, `unlabeled_unsure`: the rows
        in their order, images untouched, with the columns `id`, `image`, `pseudo_class`, `synthetic_prob`,
        `difficulty`, `is_synthetic`, `generator` and `head`: the part of a classifier a row is for, `dummy` for
        `unlabeled_synthetic`, else `main` (RSMatch, Wang et al., arXiv 2405.16930).

    Raises:
        ValueError: if a column is missing or the bounds make no sense.

    Examples:
        >>> pool = candidates.add_column("real_prob", [number / 24 for number in range(24)])
        >>> {name: len(rows) for name, rows in split_unlabeled(pool).items()}
        {'labeled': 0, 'unlabeled_real': 7, 'unlabeled_synthetic': 8, 'unlabeled_unsure': 9}
    """
    if not 0 <= lo < hi <= 1:
        raise ValueError(f"lo and hi must be probabilities with lo below hi, not {lo} and {hi}")
    real, provenance = _numbers(dataset, real_col), _provenance(dataset)
    labeled = np.zeros(len(dataset), bool)
    if labeled_col in dataset.column_names:
        labeled = np.array([value is True for value in _column(dataset, labeled_col)], bool)
    if dataset.features[real_col].dtype == "float32":  # a stored 0.7 is not below 0.7
        lo, hi = float(np.float32(lo)), float(np.float32(hi))
    synthetic = ~labeled & ((provenance == 1) | ((provenance < 0) & (real <= lo)))
    is_real = ~labeled & ((provenance == 0) | ((provenance < 0) & (real >= hi)))
    pool = _pool(dataset, real, synthetic)
    members = dict(zip(SPLITS, (labeled, is_real, synthetic, ~(labeled | is_real | synthetic)), strict=True))
    splits = {name: pool.select(np.flatnonzero(chosen)) for name, chosen in members.items()}
    for name in SPLITS[1:]:
        splits[name] = splits[name].select_columns([column for column in pool.column_names if column != "mask"])
    return DatasetDict(splits)


def class_queue(dataset: Dataset, q: int = 64, real_col: str = "real_prob") -> dict[int, Dataset]:
    """For every class, the rows that are most surely synthetic: examples to start a detector from.

    Args:
        dataset: with classes as for `split_unlabeled`, and `synthetic_prob` or `real_col`. Rows of known provenance
            (`is_synthetic`) come first if they are synthetic and never if they are not.
        q: rows a class.
        real_col: column with the probability that a row is real.

    Returns:
        At most `q` rows for each class that has any, by falling probability, then by id.

    Raises:
        ValueError: if a column is missing or `q` makes no sense.

    Examples:
        >>> pool = candidates.add_column("real_prob", [number / 24 for number in range(24)])
        >>> queue = class_queue(pool, q=2)
        >>> {name: len(rows) for name, rows in sorted(queue.items())[:3]}
        {1: 2, 2: 1, 3: 1}
    """
    if q < 1:
        raise ValueError(f"q must be at least 1, not {q}")
    if "synthetic_prob" in dataset.column_names:
        synthetic = _numbers(dataset, "synthetic_prob")
    else:
        synthetic = 1 - _numbers(dataset, real_col)
    provenance = _provenance(dataset)
    synthetic = np.where(provenance < 0, synthetic, np.where(provenance == 1, 1.0, np.nan))
    ids: Any = [str(name) for name in _column(dataset, "id")] if "id" in dataset.column_names else range(len(dataset))
    order = sorted(np.flatnonzero(~np.isnan(synthetic)).tolist(), key=lambda row: (-synthetic[row], ids[row]))
    queues: dict[int, list[int]] = {}
    classes = _column(dataset, _class_column(dataset))
    for row in order:
        for class_id in classes[row] or ():
            queue = queues.setdefault(int(class_id), [])
            if len(queue) < q:
                queue.append(row)
    return {class_id: dataset.select(queues[class_id]) for class_id in sorted(queues)}


def _column(dataset: Dataset, name: str) -> list[Any]:
    """All values of a column.

    Raises:
        ValueError: if there is no such column.
    """
    if name not in dataset.column_names:
        raise ValueError(
            f"the dataset has no column {name!r}, only {dataset.column_names}; the score of that name adds it"
        )
    values: list[Any] = dataset.select_columns([name]).with_format("arrow")[:][name].to_pylist()
    return values


def _numbers(dataset: Dataset, name: str) -> np.ndarray:
    """A column of numbers, NaN for nulls."""
    return np.array([np.nan if value is None else value for value in _column(dataset, name)], np.float64)


def _provenance(dataset: Dataset) -> np.ndarray:
    """What is known of each row: 1 if it is synthetic, 0 if not, -1 if nothing is."""
    if "is_synthetic" not in dataset.column_names:
        return np.full(len(dataset), -1)
    return np.array([-1 if value is None else int(value) for value in _column(dataset, "is_synthetic")], int)


def _class_column(dataset: Dataset) -> str:
    """The column that says which classes a row shows."""
    for name in CLASS_COLUMNS:
        if name in dataset.column_names:
            return name
    raise ValueError(f"the dataset has none of the columns {list(CLASS_COLUMNS)}, only {dataset.column_names}")


def _pool(dataset: Dataset, real: np.ndarray, synthetic: np.ndarray) -> Dataset:
    """The columns of the splits, with images and masks as they are stored."""
    if "image" not in dataset.column_names:
        raise ValueError(f"the dataset has no column 'image', only {dataset.column_names}")
    kept = dataset.select_columns([name for name in ("image", "mask") if name in dataset.column_names])
    size, names = len(dataset), dataset.column_names
    ids = _column(dataset, "id") if "id" in names else range(size)
    columns: dict[str, tuple[Any, list[Any]]] = {
        "id": (Value("string"), [str(name) for name in ids]),
        "pseudo_class": (Sequence(Value("int32")), _column(dataset, _class_column(dataset))),
        "synthetic_prob": (Value("float32"), [None if np.isnan(value) else 1 - value for value in real]),
        "head": (Value("string"), [DUMMY if value else MAIN for value in synthetic]),
    }
    for name, kind in (("difficulty", "float32"), ("is_synthetic", "bool"), ("generator", "string")):
        columns[name] = Value(kind), _column(dataset, name) if name in names else [None] * size
    features = Features({name: feature for name, (feature, _) in columns.items()})
    beside = Dataset.from_dict({name: values for name, (_, values) in columns.items()}, features=features)
    return concatenate_datasets([kept, beside], axis=1)
