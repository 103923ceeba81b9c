"""What share of the kept rows is good, as marks of a random sample show."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pyarrow as pa

from sds_hf.selection.marks.certificate import Certificate, longest_start, lower_bound
from sds_hf.selection.marks.file import MARKS, Sample, read_marks, read_samples
from sds_hf.selection.marks.sampling import kept_digest, opened, strata, uniform_ids
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.rules import Threshold
from sds_hf.selection.select import RECIPE_FILE, REPORT_FILE, Selection, select

if TYPE_CHECKING:
    from datasets import Dataset

    from sds_hf.table.score_table import ScoreTable

Unmarked = Literal["refuse", "bad"]


@dataclass
class Verdicts:
    """What was marked of the rows of a sample.

    Attributes:
        good: whether every mark of a row is good, by id; only rows that are marked.
        who: who marked them.
        days: when.
        disputed: rows with marks of both kinds.
        not_sampled: rows that are marked and not of the sample.
    """

    good: dict[str, bool] = field(default_factory=dict)
    who: set[str] = field(default_factory=set)
    days: set[str] = field(default_factory=set)
    disputed: int = 0
    not_sampled: int = 0


def certify(
    selection: Selection | str | Path,
    marks: str | Path | None = None,
    *,
    confidence: float = 0.95,
    share: float | None = None,
    scores: "ScoreTable | Dataset | str | Path | None" = None,
    out: str | Path | None = None,
    unmarked: Unmarked = "refuse",
) -> Certificate:
    """What share of the kept rows is good, shown by marks of rows that `sample` drew.

    Without a share, marks of the uniform sample give the guarantee of Clopper and Pearson for all kept rows. With one,
    marks of the stratified sample choose the lowest threshold of its score above which that share is shown. Marks of
    rows that were not drawn do not count. Rows are drawn again to see which they were. The certificate is kept in the
    report of the selection that it is about, and so in the card.

    Args:
        selection: or its folder.
        marks: file of marks; `marks.parquet` beside the selection if None.
        confidence: probability that such a claim is right, above 0 and below 1.
        share: wanted share of good rows, above 0 and below 1; then a threshold is chosen.
        scores: what the selection was made of; needed with `share`.
        out: folder of the selection with the threshold as a further rule; none is made if None.
        unmarked: what becomes of sampled rows that have no mark: `refuse`, or count as `bad`.

    Returns:
        The claim, and how it was sampled.

    Raises:
        ValueError: if the file has no sample of this selection for this claim, sampled rows are not marked, no
            threshold can be shown to keep the share, or a number makes no sense.

    Examples:
        >>> import pyarrow.parquet as pq
        >>> from sds_hf.selection.marks.file import record_marks
        >>> chosen = select(table, recipe, out="looked-at")
        >>> marks = sample(chosen, 10)
        >>> ids = pq.read_table(marks)["id"].to_pylist()
        >>> _ = record_marks(marks, [{"id": name, "mark": True, "who": "me"} for name in ids])
        >>> certify(chosen).claim
        'At least 74.1 % of the 14 kept rows are good, with 95% confidence.'
    """
    for name, value in (("confidence", confidence), ("share", share)):
        if value is not None and not 0 < value < 1:
            raise ValueError(f"{name} must be above 0 and below 1, not {value}")
    if unmarked not in get_args(Unmarked):
        raise ValueError(f"unmarked must be one of {', '.join(get_args(Unmarked))}, not {unmarked!r}")
    if out is not None and share is None:
        raise ValueError("a further selection needs a share, for which a threshold is chosen: give share=...")
    selection = opened(selection)
    path = Path(marks) if marks is not None else selection.path.with_name(MARKS)
    table = read_marks(path)
    drawn = _sample(table, selection, "uniform" if share is None else "stratified", path)
    if share is None:
        certificate = _guarantee(selection, table, drawn, confidence, unmarked)
        _keep(selection, certificate)
        return certificate
    certificate = _threshold(selection, table, drawn, confidence, unmarked, share, scores)
    if out is not None:
        _keep(_selected(selection, certificate, scores, out), certificate)
    return certificate


def _sample(table: pa.Table, selection: Selection, name: str, path: Path) -> Sample:
    """The sample of a file for a claim.

    Raises:
        ValueError: if there is none of this selection; says what there is.
    """
    samples = read_samples(table)
    use = {"uniform": "the guarantee", "stratified": "choosing a threshold with share=..."}
    if name not in samples:
        marked = f"{len(table):,} marks" if len(table) else "no marks"
        there = [f"a {other} sample, which is for {use[other]}" for other in samples if other in use]
        raise ValueError(
            f"{path} has {' and '.join([marked, *there])}, {'but' if len(table) else 'and'} no {name} sample, which "
            f"{use[name]} needs: "
            "marks of rows that were not drawn at random show nothing of the others; draw some with `sample`"
            + ("" if name == "uniform" else ", by=... and scores=...")
        )
    drawn = samples[name]
    if drawn.kept_sha256 != kept_digest(selection):
        raise ValueError(
            f"the {name} sample in {path} is of another selection, of {drawn.kept:,} kept rows; this one keeps "
            f"{selection.report.kept:,}, chosen perhaps by what was seen there: draw a new one with out=..."
        )
    return drawn


def _verdicts(table: pa.Table, ids: Iterable[str]) -> Verdicts:
    """What the marks say of the rows of a sample; a row is good if all who looked say so."""
    sampled, outside, verdicts, both = set(ids), set[str](), Verdicts(), set[str]()
    for line in table.to_pylist():
        row_id, mark = line["id"], line["mark"]
        if mark is None:
            continue
        if row_id not in sampled:
            outside.add(row_id)
            continue
        if verdicts.good.get(row_id, mark) != mark:
            both.add(row_id)
        verdicts.good[row_id] = verdicts.good.get(row_id, True) and mark
        verdicts.who |= {line["who"]} if line["who"] else set()
        verdicts.days |= {str(line["when"].date())} if line["when"] else set()
    verdicts.disputed, verdicts.not_sampled = len(both), len(outside)
    return verdicts


def _counted(verdicts: Verdicts, ids: list[str], unmarked: Unmarked) -> np.ndarray:
    """Whether each row of a sample is good, bool.

    Raises:
        ValueError: if some are not marked and these are not to count as bad.
    """
    missing = [row_id for row_id in ids if row_id not in verdicts.good]
    if missing and unmarked == "refuse":
        raise ValueError(
            f"{len(missing):,} of the {len(ids):,} sampled rows have no mark, e.g. {missing[0]!r}: mark them, or count "
            "them as bad with unmarked='bad'; those that were easy to mark alone are no random sample"
        )
    return np.array([verdicts.good.get(row_id, False) for row_id in ids])


def _guarantee(
    selection: Selection, table: pa.Table, drawn: Sample, confidence: float, unmarked: Unmarked
) -> Certificate:
    ids = uniform_ids(selection, drawn)
    verdicts = _verdicts(table, ids)
    good = _counted(verdicts, ids, unmarked)
    return Certificate(
        rows=selection.report.kept,
        share=lower_bound(int(good.sum()), len(good), confidence),
        **_described(drawn, verdicts, good, confidence),
    )


def _threshold(
    selection: Selection,
    table: pa.Table,
    drawn: Sample,
    confidence: float,
    unmarked: Unmarked,
    share: float,
    scores: Any,
) -> Certificate:
    """The certificate of the rows above the lowest threshold that is allowed.

    Raises:
        ValueError: if none is.
    """
    parts = strata(selection, drawn, scores)
    verdicts = _verdicts(table, parts.ids)
    good = _counted(verdicts, parts.ids, unmarked)
    length = int(longest_start(good[None], share, confidence, parts.ends)[0])
    if not length:
        raise ValueError(
            f"no threshold of {drawn.column} can be shown to keep {share:.1%} good rows: {int(good.sum()):,} of "
            f"{len(good):,} marks are good, {int(good[: len(good) // 2].sum()):,} of the {len(good) // 2:,} with the "
            "higher scores; more marks, a smaller share or another score may"
        )
    return Certificate(
        rows=length * parts.size,
        share=share,
        column=drawn.column,
        above=parts.bounds[parts.ends.index(length)],
        **_described(drawn, verdicts, good[:length], confidence),
    )


def _described(drawn: Sample, verdicts: Verdicts, good: np.ndarray, confidence: float) -> dict[str, Any]:
    return {
        "confidence": confidence,
        "good": int(good.sum()),
        "marks": len(good),
        "sample": drawn.name,
        "seed": drawn.seed,
        "drawn": drawn.rows,
        "who": sorted(verdicts.who),
        "first": min(verdicts.days, default=None),
        "last": max(verdicts.days, default=None),
        "unmarked": drawn.rows - len(verdicts.good),
        "disputed": verdicts.disputed,
        "not_sampled": verdicts.not_sampled,
    }


def _keep(selection: Selection, certificate: Certificate) -> None:
    """Write a certificate into the report of a selection, in place of one of the same kind."""
    others = [other for other in selection.report.certificates if other.sample != certificate.sample]
    selection.report.certificates = [*others, certificate]
    selection.report.save(selection.path.with_name(REPORT_FILE))


def _selected(selection: Selection, certificate: Certificate, scores: Any, out: str | Path) -> Selection:
    """The selection with the threshold as a further rule.

    Raises:
        ValueError: if it keeps other rows than those of the certificate.
    """
    recipe = Recipe.load(selection.path.with_name(RECIPE_FILE))
    rule = Threshold(column=str(certificate.column), above=certificate.above)
    chosen = select(scores, recipe.model_copy(update={"rules": [*recipe.rules, rule]}), out=out)
    if chosen.report.kept != certificate.rows:
        raise ValueError(
            f"{out} keeps {chosen.report.kept:,} rows, not the {certificate.rows:,} of the certificate: "
            f"{selection.path.parent} was not made of these scores by its recipe"
        )
    return chosen
