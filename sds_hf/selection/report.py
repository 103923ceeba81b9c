"""What a selection found: counts and distributions, as JSON. A card is made of a recipe and a report."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sds_hf.data.access.paths import read_file
from sds_hf.errors import one_line
from sds_hf.files import write_whole
from sds_hf.screen import Block, Screen
from sds_hf.selection.changes import Diff
from sds_hf.selection.marks.certificate import Certificate

# What a reason says of its row alone, and the rest of it; for Python and for DuckDB.
OF_ONE_ROW, ALIKE = r"(?s)^(dropped:.* is the weakest), rank [0-9.]+ of [0-9]+( in .*)?$", r"\1"


def counted_reason(reason: str) -> str:
    """A row's reason without what it says of this row alone: what rows are counted by."""
    return re.sub(OF_ONE_ROW, ALIKE, reason)


class _Open(BaseModel):
    """What is read of something that may say more."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Part(_Open):
    scores: list[str]
    columns: list[str]
    sha256: str
    readable_sha256: str | None = None


class _Source(_Open):
    name: str | None = None
    reader: str | None = None
    rows: int | None = None
    sha256: str | None = None
    columns: list[str] | None = None
    readable_sha256: str | None = None
    parts: list[_Part] = []


class _Score(_Open):
    score: str


class _Labels(_Open):
    name: str = ""
    names: list[str] = []


class _Provenance(_Open):
    """The parts of a provenance that cards, pages and other descriptions are made of."""

    source: _Source = _Source()
    scores: list[_Score] = []
    models: dict[str, dict[str, Any]] = {}
    labels: _Labels = _Labels()
    versions: dict[str, str] = {}
    notes: list[str] = []
    limits: list[str] = []
    terms: dict[str, str] = {}
    joined: list[str] = []
    table_sha256: str | None = None


class _Named(_Open):
    name: str


class _Configuration(_Open):
    config_name: str


class _DatasetInfo(_Open):
    features: list[_Named] = []


class _Metadata(_Open):
    """The parts of a card's YAML that are read again."""

    dataset_info: _DatasetInfo = _DatasetInfo()
    configs: list[_Configuration] = []


class Step(BaseModel):
    """One rule, and what it did.

    Attributes:
        rule: in words.
        before: rows that were in.
        after: rows that still are.
        dropped: rows that left, by reason.
        bounds: what bounds given as quantiles came to, by name.
        cutoffs: by score that the rule compares, the values that part the rows: bounds by their names, of the best of
            a group the lowest score by the group's name, which is empty if all rows are one group.
    """

    model_config = ConfigDict(extra="forbid")

    rule: str
    before: int
    after: int
    dropped: dict[str, int] = Field(default_factory=dict)
    bounds: dict[str, float] = Field(default_factory=dict)
    cutoffs: dict[str, dict[str, float]] = Field(default_factory=dict)

    @property
    def text(self) -> str:
        """The rule for people: with the numbers behind quantiles."""
        bounds = ", ".join(f"{name} {value:.4g}" for name, value in self.bounds.items())
        return f"{self.rule} ({bounds})" if bounds else self.rule


class ClassCount(BaseModel):
    """One class: rows that show it among the candidates and among the kept."""

    model_config = ConfigDict(extra="forbid")

    id: int
    name: str
    before: int
    after: int


class ScoreSummary(BaseModel):
    """One score column: nulls, quantiles of all candidates, and a histogram of all and of the kept.

    `edges` has one entry more than `all` and `kept`.
    """

    model_config = ConfigDict(extra="forbid")

    nulls: int
    quantiles: dict[str, float] = Field(default_factory=dict)
    edges: list[float] = Field(default_factory=list)
    all: list[int] = Field(default_factory=list)
    kept: list[int] = Field(default_factory=list)


class Report(Screen, BaseModel):
    """Everything a run found.

    Attributes:
        rows: candidates.
        kept: rows that stay.
        failed: candidates that could not be scored, with examples of the reason.
        steps: the funnel, one entry a rule.
        reasons: rows by reason, see `counted_reason`.
        classes: rows by class.
        scores: summaries by column.
        provenance: where the scores come from: source, models with SHA-256, settings, versions.
        warnings: what a person should look at.
        truth: where the truth is known (the demo): rows by defect among candidates and kept.
        metadata: what the data itself adds to the card's YAML (`dataset_info`, `configs`).
        assets: pictures of the published folder.
        changes: what is new against the version published before; None for the first.
        files: SHA-256 of the files beside the report of a selection, which belong to it; empty in what is published.
        certificates: what share of the kept rows is good, as marks of samples show.

    Examples:
        >>> report = Report.load("selection/report.json")
        >>> report.rows, report.kept
        (24, 14)
        >>> [step.rule for step in report.steps]
        ['boundary > q0.2', 'top 50% of each class by pcs']
    """

    model_config = ConfigDict(extra="forbid")

    rows: int
    kept: int
    failed: int = 0
    failures: list[str] = Field(default_factory=list)
    steps: list[Step] = Field(default_factory=list)
    reasons: dict[str, int] = Field(default_factory=dict)
    classes: list[ClassCount] = Field(default_factory=list)
    scores: dict[str, ScoreSummary] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    truth: dict[str, tuple[int, int]] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    assets: list[str] = Field(default_factory=list)
    changes: Diff | None = None
    files: dict[str, str] = Field(default_factory=dict)
    certificates: list[Certificate] = Field(default_factory=list)

    def screen_title(self) -> str:
        """See `Screen.screen_title`."""
        share = f" ({self.kept / self.rows:.1%})" if self.rows else ""
        failed = f", {self.failed:,} could not be scored" if self.failed else ""
        return f"Report: {self.kept:,} of {self.rows:,} rows kept{share}{failed}"

    def screen_blocks(self) -> list[Block]:
        """See `Screen.screen_blocks`."""
        shares = ("0", "0.5", "1")
        quantiles = {name: summary.quantiles for name, summary in self.scores.items()}
        scores = [
            [
                name,
                *(f"{values[share]:.4g}" if share in values else "–" for share in shares),
                f"{self.scores[name].nulls:,}",
            ]
            for name, values in quantiles.items()
        ]
        return [
            self.funnel,
            Block("Good, as marks show", ("",), [[certificate.claim] for certificate in self.certificates]),
            Block("Scores", ("score", "lowest", "median", "highest", "none"), scores),
            Block("Worth a look", ("",), [[warning] for warning in self.warnings]),
        ]

    @property
    def funnel(self) -> Block:
        """The rules with the rows before and after them."""
        rows = [
            [
                step.text,
                f"{step.before:,}",
                f"{step.after:,}",
                ", ".join(f"{name} {count:,}" for name, count in step.dropped.items()),
            ]
            for step in self.steps
        ]
        return Block("Rules", ("rule", "before", "after", "dropped"), rows)

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        values = self.model_dump(exclude=None if self.files else {"files"})
        write_whole(Path(path), json.dumps(values, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Report":
        """Read what `save` wrote.

        Raises:
            ValueError: in one line, if it is something else.
        """
        try:
            report = cls.model_validate_json(read_file(Path(path)))
            _Provenance.model_validate(report.provenance)
            _Metadata.model_validate(report.metadata)
            return report
        except ValidationError as error:
            what = one_line(error, {(): list(cls.model_fields)})
            raise ValueError(f"{path} is no report of sds-hf: {what}") from error

    def clean_share(self) -> tuple[float, float] | None:
        """Where the truth is known: share of rows without a defect among candidates and among the kept."""
        if not self.truth:
            return None
        clean = self.truth.get("none", (0, 0))
        totals = [sum(counts[side] for counts in self.truth.values()) for side in (0, 1)]
        return clean[0] / max(1, totals[0]), clean[1] / max(1, totals[1])


MOST_CLASSES = 10  # that a warning lists


def lost_classes(classes: Sequence[ClassCount], limit: float = 0.9) -> list[str]:
    """A warning about the classes that lost more than a share of their rows, the largest first; none if none did."""
    lost = [count for count in classes if count.before and (count.before - count.after) / count.before > limit]
    if not lost:
        return []
    lost.sort(key=lambda count: -count.before)
    listed = [f"{count.name} {count.before - count.after:,} of {count.before:,}" for count in lost[:MOST_CLASSES]]
    rest = [f"and {len(lost) - MOST_CLASSES} more"] if len(lost) > MOST_CLASSES else []
    of = "class" if len(lost) == 1 else "classes"
    return [f"{len(lost)} {of} lost more than {limit:.0%} of the rows: {', '.join([*listed, *rest])}"]


def no_class_shown(classes: Sequence[ClassCount], rows: int, failed: int) -> list[str]:
    """A warning where masks were read and none shows a class, so that there is nothing to score; none otherwise."""
    if classes or rows == failed:
        return []
    return [
        "no row shows any class: all that could be read hold background or 255, which is ignored, only; if 255 is an "
        "object, import the masks with names that number their lines, `0: background` and `255: NAME`"
    ]
