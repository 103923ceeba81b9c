"""What several ways to choose keep of rows whose defects are known, all of them the same number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sds_hf.prove.judge_auroc import best
from sds_hf.prove.judge_orders import kept_by
from sds_hf.prove.judge_truth import numbers, score_columns
from sds_hf.selection.rules import Rule
from sds_hf.table.score_table import ScoreTable


@dataclass(frozen=True)
class Keeps:
    """What is kept of each kind of defect.

    Attributes:
        size: rows that all keep.
        rows: candidates by defect, `none` first.
        shares: kept share of each, by way to choose.
        clean: share of rows without a defect among the kept, by way to choose.
    """

    size: int
    rows: dict[str, int]
    shares: dict[str, dict[str, float]]
    clean: dict[str, float]


def keeps_of(table: ScoreTable, truth: Sequence[str | None], rules: Mapping[str, Sequence[Rule]]) -> Keeps:
    """What rows drawn at random, the best single score and rules keep, as many as the first rules do.

    The best single score is the one whose highest rows are the cleanest, which only the truth can tell.

    Args:
        table: the scores.
        truth: the defect of each row, None for a clean one, in the rows' order.
        rules: by the name to show; those that cannot keep that number keep their own.
    """
    rows, defects = table.to_arrow(), np.array([value or "none" for value in truth])
    clean, count = defects == "none", len(defects)
    first = kept_by(table.folder, next(iter(rules.values())), count)
    size = int(first.sum()) if first is not None else 0
    kept = {"random": np.full(count, size / count)}
    if size:
        singles = {name: best(numbers(rows[name]), size) for name in score_columns(rows, "")}
        name = max(singles, key=lambda name: singles[name] @ clean)
        kept[f"only {name}"] = singles[name]
    for name, in_order in rules.items():
        same_size = kept_by(table.folder, in_order, count, size) if size else None
        if same_size is None or not same_size.any():
            same_size = kept_by(table.folder, in_order, count)
        kept[name] = np.zeros(count) if same_size is None else same_size
    kinds = {kind: defects == kind for kind in ["none", *sorted(set(defects[~clean].tolist()))]}
    return Keeps(
        size=size,
        rows={kind: int(members.sum()) for kind, members in kinds.items()},
        shares={
            way: {
                kind: round(float(part[members].mean()), 4) if members.any() else 0.0 for kind, members in kinds.items()
            }
            for way, part in kept.items()
        },
        clean={way: round(float(part @ clean / part.sum()), 4) if part.any() else 0.0 for way, part in kept.items()},
    )
