"""What differs between two versions of a selection, as data, and in sentences for a card."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sds_hf.errors import short
from sds_hf.screen import Block, Screen

NAMED = 3  # classes that the sentences name


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Side(_Part):
    """What was compared: its name, on the Hub the commit and its tags, and `published`, `scores` or `selection`."""

    name: str
    kind: str
    revision: str | None = None
    tags: list[str] = Field(default_factory=list)

    @property
    def title(self) -> str:
        """The name with the tags and the commit."""
        marks = [*self.tags, *([f"commit {self.revision[:10]}"] if self.revision else [])]
        return f"{self.name} ({', '.join(marks)})" if marks else self.name


class Counts(_Part):
    """Sizes of two sets of rows, and how many are in the second only (`added`) and in the first only (`dropped`)."""

    before: int
    after: int
    added: int
    dropped: int


class ReasonChange(_Part):
    """How many rows had one reason and have another now."""

    before: str
    after: str
    rows: int


class ScoreShift(_Part):
    """How a score of the rows in both versions moved; numbers have six significant digits.

    Attributes:
        rows: that have a finite number in both; the differences, now minus before, are theirs.
        lost: that had a number and have none now; `gained` the reverse.
        skipped: that have a number in one version, and in the other it was not computed, since no rule needed it.
        mean: of the differences.
        mean_absolute: of their absolute values.
        max_absolute: the largest absolute value.
        correlation: Pearson's, in [-1, 1]; None where a version gives all rows the same.
        quantiles: of the differences, by share.
    """

    rows: int
    lost: int = 0
    gained: int = 0
    skipped: int = 0
    mean: float = 0.0
    mean_absolute: float = 0.0
    max_absolute: float = 0.0
    correlation: float | None = None
    quantiles: dict[str, float] = Field(default_factory=dict)

    @property
    def is_none(self) -> bool:
        """Whether every row has the score it had."""
        return not (self.lost or self.gained or self.skipped or self.max_absolute)


class ClassChange(_Part):
    """Rows that show a class in each version, and the pixels it gained in masks that changed, where they were read."""

    name: str
    before: int
    after: int
    pixels: int | None = None

    @property
    def loss(self) -> float:
        """Share of its rows that went, 0 to 1; negative if it grew."""
        return (self.before - self.after) / self.before if self.before else 0.0


class SettingChange(_Part):
    """A setting that differs; None where a version does not have it."""

    name: str
    before: Any = None
    after: Any = None


class PictureChanges(_Part):
    """Images and masks of the rows in both versions.

    Attributes:
        rows: in both.
        images: whose stored bytes differ.
        recoded: masks whose stored bytes differ, but no pixel.
        masks: that differ in a pixel or in size, or of which one cannot be read.
        resized: of these, masks of another size.
        unreadable: of these, masks that cannot be read in one version.
        pixels: that differ, in masks of the same size.
        share: of all pixels of the masks that differ and have the same size, 0 to 1.
    """

    rows: int
    images: int = 0
    recoded: int = 0
    masks: int = 0
    resized: int = 0
    unreadable: int = 0
    pixels: int = 0
    share: float = 0.0


class Diff(Screen, _Part):
    """What differs between two versions; rows are the same where their id is.

    Attributes:
        before: the first.
        after: the second.
        rows: of the sets: kept rows, or all where nothing was selected.
        candidates: all rows the versions know, the dropped too.
        now_dropped: candidates of both that were kept and are dropped now; `now_kept` the reverse.
        reasons_changed: candidates of both whose reason, which names their group, differs.
        reasons: the most frequent of these changes.
        scores: shifts of the score columns in both.
        scores_added: score columns of the second only; `scores_dropped` of the first only.
        classes: rows by class of the sets.
        settings: of rules, scores and labels, where both versions tell theirs.
        pictures: None if they were not compared.
        files: data files and shards that only one of the versions has.
        examples: some ids by what happened to them; `added` and `dropped` are rows that only one version knows.
    """

    before: Side
    after: Side
    rows: Counts
    candidates: Counts
    now_dropped: int = 0
    now_kept: int = 0
    reasons_changed: int = 0
    reasons: list[ReasonChange] = Field(default_factory=list)
    scores: dict[str, ScoreShift] = Field(default_factory=dict)
    scores_added: list[str] = Field(default_factory=list)
    scores_dropped: list[str] = Field(default_factory=list)
    classes: list[ClassChange] = Field(default_factory=list)
    settings: list[SettingChange] = Field(default_factory=list)
    pictures: PictureChanges | None = None
    files: int = 0
    examples: dict[str, list[str]] = Field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs; how it is cut into files does not count."""
        return not self.summary()

    @property
    def changed_classes(self) -> list[ClassChange]:
        """Classes that have another number of rows or of pixels."""
        return [change for change in self.classes if change.before != change.after or change.pixels]

    @property
    def shifted_scores(self) -> dict[str, ScoreShift]:
        """Scores that moved."""
        return {name: shift for name, shift in self.scores.items() if not shift.is_none}

    def screen_title(self) -> str:
        """See `Screen.screen_title`."""
        return f"Diff: {self.before.title} -> {self.after.title}"

    def screen_blocks(self) -> list[Block]:
        """See `Screen.screen_blocks`."""
        changed = sorted(self.changed_classes, key=lambda change: (-abs(change.after - change.before), change.name))
        classes = [[change.name, f"{change.before:,}", f"{change.after:,}"] for change in changed]
        sentences = self.summary() or ["nothing that is compared differs"]
        return [
            Block("", ("",), [[sentence] for sentence in sentences]),
            Block("Classes", ("class", "rows before", "now"), classes),
        ]

    def summary(self) -> list[str]:
        """What differs, in a few sentences of plain text; none if nothing does."""
        rows, candidates = self.rows, self.candidates
        sentences: list[str] = []
        if rows.added or rows.dropped:
            sentences.append(f"Rows: {_turned(rows.before, rows.after)}; {rows.added:,} new, {rows.dropped:,} gone.")
        if (candidates.added or candidates.dropped) and candidates != rows:
            there = f"{candidates.added:,} new, {candidates.dropped:,} gone"
            sentences.append(f"Candidates: {_turned(candidates.before, candidates.after)}; {there}.")
        if self.now_dropped or self.now_kept:
            both = f"{candidates.before - candidates.dropped:,} candidates in both"
            sentences.append(f"Of {both}, {self.now_dropped:,} are dropped now and {self.now_kept:,} are kept now.")
        if self.reasons_changed:
            sentences.append(f"Candidates with another reason or group: {self.reasons_changed:,}.")
        return [*sentences, *self._of_classes(), *self._of_scores(), *self._of_pictures(), *self._of_settings()]

    def _of_classes(self) -> Iterator[str]:
        changed = [change for change in self.classes if change.before != change.after]
        largest = sorted(changed, key=lambda change: (-abs(change.after - change.before), change.name))[:NAMED]
        if changed:
            named = "; ".join(f"{change.name} {_turned(change.before, change.after)}" for change in largest)
            yield f"Classes with another number of rows: {len(changed):,}, most of all {named}."

    def _of_scores(self) -> Iterator[str]:
        for name, shift in self.shifted_scores.items():
            if shift.max_absolute:
                like = "" if shift.correlation is None else f", correlation {shift.correlation:.3g}"
                moved = f"{shift.mean_absolute:.3g} on average and {shift.max_absolute:.3g} at most"
                yield f"Score {name}: moved by {moved}{like}; rows in both: {shift.rows:,}."
            if shift.lost or shift.gained:
                yield f"Score {name}: {shift.lost:,} candidates have none now, {shift.gained:,} had none before."
            if shift.skipped:
                yield f"Score {name}: {shift.skipped:,} candidates have it in one version; the other did not need it."
        yield from (f"Score {name} is new." for name in self.scores_added)
        yield from (f"Score {name} is gone." for name in self.scores_dropped)

    def _of_pictures(self) -> Iterator[str]:
        seen = self.pictures
        if seen is None:
            return
        if seen.masks:
            share = f", in {100 * seen.share:.3g} % of their pixels" if seen.pixels else ""
            odd = {"of another size": seen.resized, "unreadable": seen.unreadable}
            details = "".join(f"; {name}: {count:,}" for name, count in odd.items() if count)
            yield f"Masks that differ: {seen.masks:,} of {seen.rows:,}{share}{details}."
        if seen.recoded:
            yield f"Masks encoded in another way, with the same pixels: {seen.recoded:,}."
        if seen.images:
            yield f"Images that differ: {seen.images:,} of {seen.rows:,}."

    def _of_settings(self) -> Iterator[str]:
        for change in self.settings:
            yield f"Setting {change.name}: {_value_text(change.before)} before, {_value_text(change.after)} now."


def _turned(before: int, after: int) -> str:
    share = f" ({100 * (after - before) / before:+.3g} %)" if before and after != before else ""
    return f"{after:,}, before {before:,}{share}"


def _value_text(value: Any) -> str:
    return "none" if value is None else short(value)
