"""Check a published dataset: that it is what its manifest says, loads as anybody loads it, and holds what it claims."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sds_hf.check.contents import Contents
from sds_hf.check.file_checks import (
    Check,
    Mismatch,
    check_checksums,
    check_counts,
    check_features,
    check_files,
    check_stored_checksums,
    checked,
    same_features,
)
from sds_hf.check.row_checks import check_ids, check_masks, check_scores
from sds_hf.data.columns import published_features
from sds_hf.hub.layout import DATA, MANIFEST, SCORES
from sds_hf.hub.snapshot import HubSnapshot, Snapshot, SnapshotError, open_snapshot
from sds_hf.progress import Watch, adding, nothing
from sds_hf.screen import Block, Screen

if TYPE_CHECKING:
    from datasets import IterableDataset

SAMPLE = 100  # masks that are decoded
SMALL = 1 << 30  # bytes of data up to which a publication is loaded again, and streamed to its end
FIRST = 100  # rows that are streamed of larger data
ROWS_AT_ONCE = 100


@dataclass(frozen=True, repr=False)
class Verification(Screen):
    """What was checked of a published dataset, and what was found.

    Attributes:
        target: Hub id or folder.
        revision: commit on the Hub.
        checks: in order.
    """

    target: str
    revision: str | None
    checks: list[Check]

    def screen_title(self) -> str:
        """See `Screen.screen_title`."""
        verdict = "verified" if self.ok else f"{len(self.failures)} of {len(self.checks)} checks failed"
        commit = f", commit {self.revision[:10]}" if self.revision else ""
        return f"Verification: {verdict}: {self.target}{commit}"

    def screen_blocks(self) -> list[Block]:
        """See `Screen.screen_blocks`."""
        marks = {True: "ok", False: "failed", None: "not checked"}
        ordered = sorted(self.checks, key=lambda check: check.ok is not False)
        return [Block("", ("", "", ""), [[marks[check.ok], check.name, check.detail] for check in ordered])]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(check.ok is not False for check in self.checks)

    @property
    def failures(self) -> list[str]:
        """What failed, a line each."""
        return [f"{check.name}: {check.detail}" for check in self.checks if check.ok is False]


def verify(
    target: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    rescore: int = 0,
    places: Mapping[str, Any] | None = None,
    sample: int = SAMPLE,
    download: bool = True,
    watch: Watch = nothing,
) -> Verification:
    """Check a dataset that sds-hf published.

    On the Hub everything is read at one commit and downloaded anew, into the cache of `huggingface_hub`, where
    `load_dataset` then finds it. A row group is in memory at a time, and 8 bytes for each id.

    Args:
        target: Hub id, with `@revision` if wanted, or folder.
        revision: tag, branch or commit on the Hub; the newest version if None.
        token: as in `huggingface_hub`.
        rescore: rows to score again with the recorded settings and models.
        places: where models and fitted files lie here that are not on the Hub: `{"model": folder}`, or for one score
            `{"gmm_sim": {"fitted": file}}`.
        sample: masks to decode.
        download: whether to download large files. Otherwise the checksums that the Hub keeps of them are compared,
            and only ends of files and parts of tables are read.
        watch: shows the progress of each check that reads all rows.

    Returns:
        The checks; what is wrong with the dataset is in them.

    Raises:
        ValueError: if there is no such dataset or version, it cannot be reached, or a number makes no sense.

    Examples:
        >>> verify("sds-mine").ok
        True
    """
    for name, number, least in (("sample", sample, 1), ("rescore", rescore, 0)):
        if number < least:
            raise ValueError(f"{name} must be at least {least}, not {number}")
    return _verify(open_snapshot(target, revision, token), rescore, places, sample, download, watch)


def verify_published(name: str, revision: str, token: str | None = None, watch: Watch = nothing) -> Verification:
    """Check what was just pushed: data of up to 1 GB is loaded again, of more only as `verify(download=False)` does.

    Args:
        name: Hub id, whatever folder of that name is here.
        revision: commit.
        token: as in `huggingface_hub`.
        watch: shows progress, see `verify`.
    """
    snapshot = HubSnapshot(name, revision, token)
    size = sum(file.size for path, file in snapshot.stored().items() if path.startswith((DATA, SCORES)))
    return _verify(snapshot, download=size <= SMALL, watch=watch)


def _verify(
    snapshot: Snapshot,
    rescore: int = 0,
    local_paths: Mapping[str, Any] | None = None,
    sample: int = SAMPLE,
    download: bool = True,
    watch: Watch = nothing,
) -> Verification:
    try:
        entries = snapshot.entries(fresh=True)
    except SnapshotError as error:
        return Verification(snapshot.name, snapshot.revision, [Check("manifest", False, str(error))])
    contents = Contents(snapshot, entries, snapshot.stored())
    download = download or not isinstance(snapshot, HubSnapshot)
    rows = contents.rows(DATA)
    rows_of_all = rows + contents.rows(SCORES)

    def watched(name: str, rows: int, compare: Callable[[Callable[[int], None]], str | None]) -> Check:
        with watch(name, rows) as tell:
            return checked(name, lambda: compare(adding(tell)))

    checks = [
        Check("manifest", True, f"{len(entries)} files listed"),
        checked("files", lambda: check_files(contents)),
        checked("stored checksums", lambda: check_stored_checksums(contents)),
        watched("checksums", rows_of_all, partial(check_checksums, contents, download=download)),
        checked("counts", lambda: check_counts(contents)),
        checked("features", lambda: check_features(contents)),
    ]
    if download:
        checks += [
            watched("load_dataset", rows_of_all, partial(_check_plain, contents)),
            watched("streaming", _rows_to_stream(contents), partial(_check_streaming, contents)),
            watched("ids", rows, partial(check_ids, contents)),
            watched("scores", rows, partial(check_scores, contents)),
        ]
    checks.append(checked("masks", lambda: check_masks(contents, sample)))
    if rescore:
        from sds_hf.check.rescore import check_scores_again  # which alone asks models

        try:
            checks += check_scores_again(contents, rescore, local_paths)
        except Exception as error:  # as in `checked`
            checks.append(Check("rescore", False, f"{type(error).__name__}: {' '.join(str(error).split())}"))
    return Verification(snapshot.name, snapshot.revision, checks)


def _check_plain(contents: Contents, progress: Callable[[int], None]) -> str:
    """`load_dataset` gives the rows and features of the card, from a cache of its own."""
    row_counts = []
    with tempfile.TemporaryDirectory(prefix="sds-hf-") as cache:
        for config, folder in (("default", DATA), ("scores", SCORES)):
            if not contents.tables(folder):
                continue
            dataset = contents.snapshot.load(config, cache_dir=cache)
            if len(dataset) != contents.rows(folder):
                raise Mismatch(f"{config} has {len(dataset):,} rows, {MANIFEST} says {contents.rows(folder):,}")
            if config == "default":
                same_features(dataset.features, contents.info.features, "what is loaded")
                if dataset.features != published_features(dataset.features):
                    raise Mismatch("whoever loads it gets no pictures: image and mask must be plain Image()")
            row_counts.append(f"{config} {len(dataset):,}")
            progress(len(dataset))
            del dataset  # or its files could not be removed everywhere
    return f"rows: {', '.join(row_counts)}"


def _check_streaming(contents: Contents, progress: Callable[[int], None]) -> str:
    """A stream has the features of the card and the rows of the manifest; of large data the first rows."""
    expected, rows_to_stream, rows = contents.rows(DATA), _rows_to_stream(contents), 0
    whole = rows_to_stream == expected
    with tempfile.TemporaryDirectory(prefix="sds-hf-") as cache:
        stream: IterableDataset = contents.snapshot.load(streaming=True, cache_dir=cache)
        same_features(stream.features, contents.info.features, "what is streamed")
        for batch in _batches(stream if whole else stream.take(FIRST)):
            rows += batch.num_rows
            progress(batch.num_rows)
    if rows != rows_to_stream:
        raise Mismatch(f"{rows:,} rows are streamed, {MANIFEST} says {expected:,}")
    return f"{rows:,} rows" + ("" if whole else f", the first of {expected:,}")


def _rows_to_stream(contents: Contents) -> int:
    """All rows, or of large data the first ones."""
    whole = sum(entry.size for entry in contents.tables(DATA)) <= SMALL
    return contents.rows(DATA) if whole else min(FIRST, contents.rows(DATA))


def _batches(stream: "IterableDataset") -> Any:
    """Arrow tables, nothing decoded."""
    return stream.with_format("arrow").iter(ROWS_AT_ONCE)
