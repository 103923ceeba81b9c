"""Limits that a new version has to keep to be published."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sds_hf.errors import one_line
from sds_hf.selection.changes import Diff
from sds_hf.selection.report import Report

EXAMPLES = "min_rows=500, min_rows_per_class=20, max_class_loss=20%, max_rows_dropped=10%, max_score_shift=0.05"
PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")
NAMED = 3  # classes or scores that a message names
ROUNDING = 1e-9  # 14.5 % of 1000 rows are 145, whatever binary fractions make of it


def _share(value: Any) -> Any:
    """A share from `20%` or 0.2; a whole number may mean either."""
    if isinstance(value, str) and (match := PERCENT.fullmatch(value.strip())):
        return float(match[1]) / 100
    if str(value).strip().isdigit() and float(value) > 0:
        raise ValueError(f"write {value}% for a percentage, or a share such as 0.2")
    return value


Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(_share)]
Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Gate(BaseModel):
    """Limits; those that are None are not set. A first version keeps those that start with `max_`.

    Attributes:
        min_rows: kept rows.
        min_rows_per_class: kept rows of each class, but the background, that a candidate or the last version shows.
        max_class_loss: share of its rows in the last version that a class may lose, 0 to 1.
        max_rows_dropped: share of the last version's rows that may be gone, 0 to 1.
        max_score_shift: mean absolute difference of a score, over the candidates in both versions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_rows: Count | None = None
    min_rows_per_class: Count | None = None
    max_class_loss: Share | None = None
    max_rows_dropped: Share | None = None
    max_score_shift: Size | None = None

    @classmethod
    def parse(cls, limits: Iterable[str]) -> "Gate":
        """A gate of limits such as `max_class_loss=20%`; of a limit given twice the last counts.

        Raises:
            ValueError: names what is wrong and what there is.
        """
        values = {}
        for limit in limits:
            name, separator, value = limit.partition("=")
            if not separator:
                raise ValueError(f"a gate is NAME=VALUE, not {limit!r}; there are {EXAMPLES}")
            values[name.strip()] = value.strip()
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ValueError(f"gate {one_line(error, {(): list(cls.model_fields)})}; e.g. {EXAMPLES}") from error

    @property
    def limits(self) -> dict[str, Any]:
        """The limits that are set."""
        return self.model_dump(exclude_none=True)

    def merged(self, other: "Gate") -> "Gate":
        """These limits, and in their place those that another gate sets."""
        return Gate(**{**self.limits, **other.limits})

    def broken(self, report: Report, changes: Diff | None) -> list[str]:
        """What breaks a limit: the limit and what was found.

        Args:
            report: of the new version.
            changes: from the last version to this one; None if there is none.
        """
        breaches = [*self._of_sizes(report, changes), *(self._of_changes(changes) if changes else ())]
        return [f"{name}={_text(name, self.limits[name])}, but {what}" for name, what in breaches]

    def _of_sizes(self, report: Report, changes: Diff | None) -> Iterator[tuple[str, str]]:
        if self.min_rows is not None and report.kept < self.min_rows:
            yield "min_rows", f"{report.kept:,} rows are kept"
        if self.min_rows_per_class is not None:
            counts = {change.name: change.after for change in changes.classes} if changes else {}
            counts |= {count.name: count.after for count in report.classes}
            counts.pop(_background(report), None)
            few = {name: count for name, count in counts.items() if count < self.min_rows_per_class}
            if few:
                yield "min_rows_per_class", f"too few show {_named({name: f'{few[name]:,}' for name in _by_size(few)})}"

    def _of_changes(self, changes: Diff) -> Iterator[tuple[str, str]]:
        rows, last = changes.rows, changes.before.title
        if self.max_class_loss is not None:
            lost = {
                change.name: -change.loss for change in changes.classes if change.loss > self.max_class_loss + ROUNDING
            }
            loss_texts = {
                change.name: f"{change.loss:.1%} ({change.before:,} to {change.after:,})" for change in changes.classes
            }
            if lost:
                yield (
                    "max_class_loss",
                    f"against {last} these lost rows: {_named({n: loss_texts[n] for n in _by_size(lost)})}",
                )
        if self.max_rows_dropped is not None and rows.dropped > (self.max_rows_dropped + ROUNDING) * rows.before:
            share = f"{rows.dropped / rows.before:.1%}"
            yield "max_rows_dropped", f"{rows.dropped:,} of {rows.before:,} rows of {last} are gone, {share}"
        if self.max_score_shift is not None:
            shifts = {name: -shift.mean_absolute for name, shift in changes.scores.items()}
            moved = {name: f"{-shifts[name]:.3g}" for name in _by_size(shifts) if -shifts[name] > self.max_score_shift}
            if moved:
                yield "max_score_shift", f"since {last} these moved on average: {_named(moved)}"


def _background(report: Report) -> str:
    """Name of the class that stands for nothing; empty if there is none."""
    labels = report.provenance.get("labels", {})
    names = labels.get("names") or [""]
    return str(names[0]) if labels.get("has_background", True) else ""


def _by_size(values: Mapping[str, float]) -> list[str]:
    return sorted(values, key=lambda name: (values[name], name))


def _named(texts: Mapping[str, str]) -> str:
    listing = ", ".join(f"{name} {text}" for name, text in list(texts.items())[:NAMED])
    return f"{listing} and {len(texts) - NAMED} more" if len(texts) > NAMED else listing


def _text(name: str, limit: float) -> str:
    return f"{100 * limit:.10g}%" if Gate.model_fields[name].annotation == Share | None else f"{limit:.10g}"
