"""What is compared in a published dataset as a whole: files, checksums, counts and features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from sds_hf.check.contents import Contents
from sds_hf.files import read_sha256
from sds_hf.hub.layout import DATA, MANIFEST, SCORES, taken_for_ours

if TYPE_CHECKING:
    from datasets import Features

PICTURES = ("image", "mask")
NAMED = 3  # findings that a detail names


class Mismatch(ValueError):
    """What was found does not agree; the message says what with what."""


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        name: what was compared.
        ok: whether it agrees; None if it was not checked.
        detail: what was found, in a line.
    """

    name: str
    ok: bool | None
    detail: str


def checked(name: str, compare: Callable[[], str | None]) -> Check:
    """The outcome of a comparison, which returns what it found, or None if there is nothing to compare."""
    try:
        detail = compare()
    except Exception as error:  # whatever damaged data makes of a library is what was to be found
        kind = "" if isinstance(error, Mismatch) else f"{type(error).__name__}: "
        return Check(name, False, kind + " ".join(str(error).split()))
    return Check(name, None if detail is None else True, detail or "there is nothing to compare")


def check_files(contents: Contents) -> str:
    """Every listed file is there and has its size, and no other could be taken for data."""
    listed, there = contents.entries, contents.stored
    if missing := [path for path in listed if path not in there]:
        raise Mismatch(f"missing: {named(missing)}")
    if sizes := [path for path in listed if there[path].size != listed[path].size]:
        what = f"{there[sizes[0]].size:,} bytes for {listed[sizes[0]].size:,}"
        raise Mismatch(f"of another size than {MANIFEST} says: {named(sizes)} ({what})")
    others = [path for path in there if path not in listed and path != MANIFEST]
    if strange := [*taken_for_ours(others), *(path for path in others if path.endswith(".py"))]:
        raise Mismatch(f"not in {MANIFEST}, but `load_dataset` would take notice of it: {named(strange)}")
    return f"{len(listed)} files" + (f"; not listed: {named(others)}" if others else "")


def check_stored_checksums(contents: Contents) -> str | None:
    """The SHA-256 that the Hub keeps of large files; reads nothing."""
    kept = {
        path: stored.sha256 for path, stored in contents.stored.items() if stored.sha256 and path in contents.entries
    }
    if wrong := [path for path, digest in kept.items() if digest != contents.entries[path].sha256]:
        raise Mismatch(f"the Hub's checksums are not those of {MANIFEST}: {named(wrong)}")
    return f"{len(kept)} files of Git LFS" if kept else None


def check_checksums(contents: Contents, progress: Callable[[int], None], *, download: bool) -> str:
    """SHA-256 of the files as they are read now; without `download` only of those whose checksum the Hub lacks."""
    wrong, size = [], 0
    paths = [path for path in contents.entries if path in contents.stored]
    paths = [path for path in paths if download or not contents.stored[path].sha256]
    for path in paths:
        local_path = contents.snapshot.fetch(path, fresh=True)
        size += local_path.stat().st_size
        if read_sha256(local_path) != contents.entries[path].sha256:
            wrong.append(path)
        progress(contents.entries[path].rows or 0)
    if wrong:
        raise Mismatch(f"not what {MANIFEST} says: {named(wrong)}")
    return f"{len(paths)} files, {size / 1e6:,.1f} MB read"


def check_counts(contents: Contents) -> str:
    """Rows in the Parquet files, in manifest, report and card."""
    for entry in (*contents.tables(DATA), *contents.tables(SCORES)):
        with contents.snapshot.open(entry.path) as file:
            rows = pq.read_metadata(file).num_rows
        if rows != entry.rows:
            raise Mismatch(f"{entry.path} has {rows:,} rows, {MANIFEST} says {entry.rows}")
    rows, report = contents.rows(DATA), contents.report
    said = {"report.json": report.kept, "the card": contents.info.splits["train"].num_examples}
    if differing := [f"{document} says {number:,}" for document, number in said.items() if number != rows]:
        raise Mismatch(f"the data has {rows:,} rows; {', '.join(differing)}")
    size = sum(entry.size for entry in contents.tables(DATA))
    if contents.info.download_size != size and len(contents.info.splits) == 1:  # others may have added splits
        raise Mismatch(f"the data has {size:,} bytes; the card says {contents.info.download_size}")
    if contents.tables(SCORES) and contents.rows(SCORES) != report.rows:
        raise Mismatch(f"the scores have {contents.rows(SCORES):,} rows; report.json says {report.rows:,}")
    return f"{rows:,} rows of {report.rows:,} candidates"


def check_features(contents: Contents) -> str:
    """Features in the card and in every Parquet file of the data; images are what anybody gets as pictures."""
    from datasets import Features, Image

    expected = contents.info.features
    if strange := [name for name in PICTURES if name in expected and expected[name] != Image()]:
        raise Mismatch(f"whoever loads it gets no pictures as they are stored: {strange[0]} is {expected[strange[0]]}")
    for entry in contents.tables(DATA):
        with contents.snapshot.open(entry.path) as file:
            same_features(Features.from_arrow_schema(pq.read_schema(file)), expected, entry.path)
    return f"{len(expected)} columns"


def same_features(features: "Features", expected: "Features", what: str) -> None:
    """Raise a `Mismatch` that names the columns in which features differ from those of the card."""
    if features != expected:
        names = [name for name in {**features, **expected} if features.get(name) != expected.get(name)]
        raise Mismatch(f"{what} has other columns than the card says: {named(names) or 'in another order'}")


def named(findings: Sequence[str]) -> str:
    """The first findings, and how many more there are."""
    more = len(findings) - NAMED
    return ", ".join(findings[:NAMED]) + (f" and {more} more" if more > 0 else "")
