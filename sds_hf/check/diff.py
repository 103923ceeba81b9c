"""What differs between two versions: rows by id, scores, classes, settings, images and masks."""

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from sds_hf.check.alignment import SIDES, Alignment
from sds_hf.check.pictures import compare_pictures
from sds_hf.check.versions import Version, open_version
from sds_hf.selection.changes import ClassChange, Counts, Diff, ReasonChange, ScoreShift, SettingChange
from sds_hf.selection.duck import CLASSES, database, quantiles

EXAMPLES, REASONS = 5, 20
SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
# What happens to rows, as conditions on the table `aligned`.
HAPPENED = {
    "added": "kept_b AND NOT kept_a",
    "dropped": "kept_a AND NOT kept_b",
    "now_kept": "in_a AND in_b AND kept_b AND NOT kept_a",
    "now_dropped": "in_a AND in_b AND kept_a AND NOT kept_b",
    "reason": "reason_a <> reason_b",
}
EXAMPLES_OF = HAPPENED | {  # rows whose ids are told as new and gone, besides those that were decided otherwise
    "added": "kept_b AND NOT in_a",
    "dropped": "kept_a AND NOT in_b",
}
SIZES = {name: name for name in ("kept_a", "kept_b", "in_a", "in_b")} | {"new": "NOT in_a", "gone": "NOT in_b"}


def diff(
    before: Version | str | Path,
    after: Version | str | Path,
    *,
    pictures: bool = True,
    token: str | None = None,
    memory_limit: str | None = None,
    scratch: str | Path | None = None,
) -> Diff:
    """What differs between two versions; rows are the same where their id is.

    Rows go through DuckDB, which writes to disk what does not fit into memory. Of a repository only scores and
    descriptions are downloaded, and, to compare pictures, the data files that the other version does not have.

    Args:
        before: a folder (published, of scores, or of a selection), a Hub id, or one with a revision, `user/name@v1`.
        after: the other, in the same way.
        pictures: whether images and masks are compared: by their bytes, and masks whose bytes differ by their pixels.
        token: as in `huggingface_hub`.
        memory_limit: what DuckDB may use, e.g. `"3GB"`; 80 % of the machine's if None.
        scratch: folder for what does not fit; the system's temporary one if None.

    Raises:
        ValueError: if there is no such version, it cannot be read, it has no ids, or one twice.

    Examples:
        >>> half = Recipe(name="mine", rules=[TopK("pcs", fraction=0.5)])
        >>> _ = publish(candidates, select(table, half), half, scores=table, folder="sds-half")
        >>> diff("sds-mine", "sds-half").rows
        Counts(before=14, after=12, added=4, dropped=6)
    """
    first, second = (
        version if isinstance(version, Version) else open_version(version, token) for version in (before, after)
    )
    with database(memory_limit, scratch) as connection:
        try:
            return _diff(Alignment(connection, first, second), first, second, pictures)
        except (duckdb.InterruptException, duckdb.OutOfMemoryException):
            raise
        except (duckdb.Error, pa.ArrowException) as error:  # a file that is none, a disk that is full
            why = str(error).strip().splitlines()[0]
            raise ValueError(f"cannot compare {first.side.name} and {second.side.name}: {why}") from error


def _diff(rows: Alignment, first: Version, second: Version, pictures: bool) -> Diff:
    seen, pixels = (compare_pictures(rows, (first, second)) if pictures else None) or (None, None)
    happened, sizes = rows.counts(HAPPENED), rows.counts(SIZES)
    return Diff(
        before=first.side,
        after=second.side,
        rows=Counts(
            before=sizes["kept_a"], after=sizes["kept_b"], added=happened["added"], dropped=happened["dropped"]
        ),
        candidates=Counts(before=sizes["in_a"], after=sizes["in_b"], added=sizes["new"], dropped=sizes["gone"]),
        now_dropped=happened["now_dropped"],
        now_kept=happened["now_kept"],
        reasons_changed=happened["reason"],
        reasons=_reasons(rows),
        scores={name: _shift(rows, number) for number, name in enumerate(rows.scores)},
        scores_added=rows.only["b"],
        scores_dropped=rows.only["a"],
        classes=_classes(rows, (first, second), pixels),
        settings=_settings(first, second),
        pictures=seen,
        files=len(set(first.files.items()) ^ set(second.files.items())),
        examples={name: ids for name, where in EXAMPLES_OF.items() if (ids := _examples(rows, where))},
    )


def _reasons(rows: Alignment) -> list[ReasonChange]:
    counts = rows.fetch(
        f"""SELECT reason_a, reason_b, count(*) FROM aligned WHERE {HAPPENED["reason"]} GROUP BY ALL
            ORDER BY 3 DESC, 1, 2 LIMIT {REASONS}"""
    )
    return [ReasonChange(before=old, after=new, rows=count) for old, new, count in counts]


def _examples(rows: Alignment, where: str) -> list[str]:
    ids = rows.fetch(f"SELECT id FROM aligned WHERE {where} ORDER BY id LIMIT {EXAMPLES}")
    return [name for (name,) in ids]


def _shift(rows: Alignment, number: int) -> ScoreShift:
    """How a score moved, over the candidates in both."""
    a, b = f"s{number}_a", f"s{number}_b"
    a_lacks, b_lacks = (f"{value} IS NULL AND NOT skips{value[1:]}" for value in (a, b))
    lost, gained, skipped, count, mean, absolute, largest, top_a, top_b = rows.fetch(
        f"""SELECT count(*) FILTER ({a} IS NOT NULL AND {b_lacks}), count(*) FILTER ({b} IS NOT NULL AND {a_lacks}),
                   count(*) FILTER (({a} IS NOT NULL AND skips{number}_b) OR ({b} IS NOT NULL AND skips{number}_a)),
                   count({b} - {a}), favg({b} - {a}),
                   favg(abs({b} - {a})), max(abs({b} - {a})), max(abs({a})) FILTER ({b} IS NOT NULL),
                   max(abs({b})) FILTER ({a} IS NOT NULL) FROM aligned WHERE in_a AND in_b"""
    )[0]
    if not count:
        return ScoreShift(rows=0, lost=lost, gained=gained, skipped=skipped)
    # Scaled, for squares of large numbers would be infinite.
    like = rows.fetch(f"SELECT corr({a} / {top_a or 1.0!r}, {b} / {top_b or 1.0!r}) FROM aligned")[0][0]
    moves = f"(SELECT {b} - {a} AS value FROM aligned WHERE {b} - {a} IS NOT NULL)"
    values = quantiles(rows.fetch, moves, SHARES)
    return ScoreShift(
        rows=count, lost=lost, gained=gained, skipped=skipped, mean=_rounded(mean), mean_absolute=_rounded(absolute),
        max_absolute=_rounded(largest), correlation=_rounded(like) if like is not None and np.isfinite(like) else None,
        quantiles={f"{share:g}": _rounded(value) for share, value in zip(SHARES, values, strict=True)},
    )  # fmt: skip


def _rounded(value: float) -> float:
    """Six significant digits: the last ones of a sum depend on the order in which threads add."""
    return float(f"{value:.6g}") + 0.0


def _classes(rows: Alignment, versions: tuple[Version, Version], pixels: np.ndarray | None) -> list[ClassChange]:
    """Rows by class where both versions know them, in the order of the classes; pixels if masks were read."""
    counts = [_class_counts(rows, side, version) for side, version in zip(SIDES, versions, strict=True)]
    if counts[0] is None or counts[1] is None:
        return []
    gains: dict[str, int] = {}
    if pixels is not None:
        for sign, version, index_pixels in zip((-1, 1), versions, pixels, strict=True):
            for index in np.flatnonzero(index_pixels):
                name = _name(version, int(index))
                gains[name] = gains.get(name, 0) + sign * int(index_pixels[index])
    order = {name: position for position, name in enumerate(dict.fromkeys([*versions[1].names, *versions[0].names]))}
    names = sorted({**counts[0], **counts[1]}, key=lambda name: (order.get(name, len(order)), name))
    return [
        ClassChange(
            name=name, before=counts[0].get(name, 0), after=counts[1].get(name, 0),
            pixels=None if pixels is None else gains.get(name, 0),
        )
        for name in names
    ]  # fmt: skip


def _class_counts(rows: Alignment, side: str, version: Version) -> dict[str, int] | None:
    """Rows of the set by class; None if nothing tells."""
    if not rows.has_classes[side]:
        return version.classes
    counts = rows.fetch(
        f"SELECT c, count(*) FROM (SELECT unnest(list_distinct({CLASSES})) AS c FROM {side} WHERE kept) GROUP BY 1"
    )
    return {_name(version, int(index)): count for index, count in counts}


def _name(version: Version, index: int) -> str:
    return version.names[index] if 0 <= index < len(version.names) else str(index)


def _settings(first: Version, second: Version) -> list[SettingChange]:
    """Settings that differ, of the parts that both versions tell."""
    told = [name for name in first.settings if name in second.settings]
    old, new = (_flat({name: version.settings[name] for name in told}) for version in (first, second))
    return [
        SettingChange(name=name, before=old.get(name), after=new.get(name))
        for name in sorted({**old, **new})
        if old.get(name) != new.get(name)
    ]


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Settings by dotted names; a list of plain values is one."""
    plain = not isinstance(values, dict) and not (isinstance(values, list) and any(isinstance(v, dict) for v in values))
    if plain:
        return {prefix: json.loads(json.dumps(values))}
    items = values.items() if isinstance(values, dict) else enumerate(values)
    return {
        name: value
        for key, inner in items
        for name, value in _flat(inner, f"{prefix}.{key}" if prefix else str(key)).items()
    }
