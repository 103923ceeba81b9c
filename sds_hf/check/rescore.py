"""Score rows of a published dataset again, as its report says they were scored, and compare the numbers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import inf, isfinite, isnan
from typing import Any

import numpy as np
import pyarrow as pa

from sds_hf.check.contents import Contents
from sds_hf.check.file_checks import Check, Mismatch, checked
from sds_hf.clip.device import current_device
from sds_hf.data.cells import column_cells
from sds_hf.data.labels import LabelSpace
from sds_hf.scores.base.batches import columns_read
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.presets import field_names
from sds_hf.scores.base.score import Score, score_cells
from sds_hf.table.partial.needs import HIGH, LOW, SKIPPED

# How far a number may be from the published one, times its size where that is above 1: batches of other sizes add up in
# another order, and other hardware rounds otherwise (tests/test_same_numbers.py, tests/benchmarks/half_precision.py).
SAME_HARDWARE = {"fp32": 5e-6, "bf16": 5e-3, "fp16": 5e-3}
OTHER_HARDWARE = {"fp32": 1e-3, "bf16": 1e-2, "fp16": 1e-2}  # of the mean of the distances
# Digests beside these say what they are, wherever they lie.
PATHS = ("model", "sam3_model", "regions", "fitted", "statistics")


def check_scores_again(contents: Contents, count: int, local_paths: Mapping[str, Any] | None = None) -> list[Check]:
    """Re-score a sample of rows with the recorded scores, settings and models; one check a column.

    Args:
        contents: of the published dataset.
        count: rows.
        local_paths: where models and fitted files lie here, as `{"model": ...}` or `{"gmm_sim": {"fitted": ...}}`.

    Returns:
        For each column of scores whether the numbers hold; those that cannot be computed here say why, with `ok` None,
        or False if there are no others.
    """
    provenance, labels = contents.report.provenance, contents.labels
    columns = list(contents.info.features)
    recorded = [one for one in provenance.get("scores", []) if one["score"] != "classes_present"]
    if not recorded or labels is None:
        return [Check("rescore", False, "report.json does not say how the scores were computed")]
    rows, device = contents.sample(count), provenance.get("device", "")
    recorded = [_with_local_paths(one, local_paths or {}) for one in recorded]
    checks = list(_unique(check for one in recorded for check in _again(one, rows, columns, labels, device)))
    if any(check.ok is not None for check in checks):
        return checks
    return [Check(check.name, False, check.detail) for check in checks]


def _again(
    identity: Mapping[str, Any], rows: pa.Table, columns: Sequence[str], labels: LabelSpace, published_from: str
) -> Iterator[Check]:
    """The checks of one score."""
    cls = score_classes().get(identity["score"])
    written = {**cls.columns, **cls.optional_columns} if cls else [identity["score"]]
    published = [name for name in written if name in columns or not cls]
    try:
        score = _score_of(identity)
        read_columns = columns_read([score])
        cells = {name: column_cells(rows[name]) for name in rows.column_names if name in read_columns}
        new_columns, errors = score_cells([score], cells, labels)
        if errors:
            raise Mismatch(f"{len(errors)} rows cannot be scored, e.g. {next(iter(errors.values()))}")
    except Mismatch as error:
        yield from (Check(f"rescore {name}", False, str(error)) for name in published)
    except (ValueError, OSError, KeyError, ModuleNotFoundError) as error:
        reason = f"not scored again: {' '.join(str(error).split())}"
        yield from (Check(f"rescore {name}", None, reason) for name in published)
    else:
        device = current_device().type
        same = published_from.split(":")[0] == device
        where = f"{identity['dtype']} on {device}" if "dtype" in identity else device
        where += "" if same else f", published from {published_from or 'elsewhere'}"
        for name in filter(new_columns.__contains__, published):
            here, there = _computed_in_both(new_columns[name], rows, name)
            dtype = identity.get("dtype", "fp32")
            if not here and len(rows):
                yield Check(f"rescore {name}", None, f"of none of {len(rows)} rows published, as no rule needed it")
                continue
            yield checked(f"rescore {name}", partial(_compared, here, there, dtype, same, where))


def _computed_in_both(here: Sequence[Any], rows: pa.Table, name: str) -> tuple[list[Any], list[Any]]:
    """A column's new and published numbers; of an interval that was published, the number that is nearest."""
    names = rows.column_names
    skipped = rows[SKIPPED].to_pylist() if SKIPPED in names else [()] * len(rows)
    no_ends = [None] * len(rows)
    ends = [rows[name + end].to_pylist() if name + end in names else no_ends for end in (LOW, HIGH)]
    pairs = list[tuple[Any, Any]]()
    for number, published, cell, low, high in zip(here, rows[name].to_pylist(), skipped, *ends, strict=True):
        if name not in (cell or ()):
            pairs.append((number, published))
        elif low is not None and number is not None:
            pairs.append((number, min(max(float(number), low), high)))
    return [number for number, _ in pairs], [published for _, published in pairs]


def _with_local_paths(identity: Mapping[str, Any], local_paths: Mapping[str, Any]) -> dict[str, Any]:
    """What was recorded of a score, with the files as they lie here."""
    paths = {**local_paths, **(local_paths.get(identity["score"]) or {})}
    return {**identity, **{name: paths[name] for name in PATHS if name in paths and name in identity}}


def _score_of(identity: Mapping[str, Any]) -> Score:
    """The score with the recorded settings.

    Raises:
        ValueError: if it is not here, or what decides its numbers here differs from the record.
    """
    cls = score_classes().get(identity["score"])
    if cls is None:
        raise ValueError(f"no score {identity['score']!r} is installed")
    score = cls(**{name: value for name, value in identity.items() if name in field_names(cls)})
    here = json.loads(json.dumps(score.identity()))
    differing = [name for name in identity if here.get(name) != identity[name] and name not in PATHS]
    if differing:
        name = differing[0]
        raise ValueError(f"{name} is {here.get(name)!r} here, and was {identity[name]!r}")
    return score


def _compared(here: Sequence[Any], there: Sequence[Any], dtype: str, same: bool, where: str) -> str:
    """How far numbers are from the published ones.

    Raises:
        Mismatch: if they are too far.
    """
    gaps = np.array([_gap(*pair) for pair in zip(here, there, strict=True)])
    largest, mean = float(gaps.max()), float(gaps.mean())
    limit = SAME_HARDWARE[dtype] if same else OTHER_HARDWARE[dtype]
    said = f"{len(gaps)} rows, {where}: largest difference {largest:.2g}, mean {mean:.2g}; tolerance {limit:g}"
    said += "" if same else " for the mean"
    if (largest if same else mean) > limit:
        raise Mismatch(said)
    return said


def _gap(here: Any, there: Any) -> float:
    """How far apart two cells are, relative to numbers above 1; infinite where they can only be equal and are not."""
    if isinstance(here, Mapping) and isinstance(there, Mapping) and here.keys() == there.keys():
        return _gap(list(here.values()), [there[name] for name in here])
    if isinstance(here, (list, tuple, np.ndarray)) and isinstance(there, list) and len(here) == len(there):
        return max((_gap(*pair) for pair in zip(here, there, strict=True)), default=0.0)
    if isinstance(here, (float, np.floating)) and isinstance(there, float):
        gap = abs(float(here) - there) / max(1.0, abs(there))
        return gap if isfinite(gap) else 0.0 if here == there or (isnan(here) and isnan(there)) else inf
    return 0.0 if here == there else inf


def _unique(checks: Iterator[Check]) -> Iterator[Check]:
    """The first check of each name: scores that share a column write the same numbers into it."""
    seen: set[str] = set()
    for check in checks:
        if check.name not in seen:
            seen.add(check.name)
            yield check
