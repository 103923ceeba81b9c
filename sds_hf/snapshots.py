"""The files of a published dataset at one version, in a folder or on the Hub."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, BinaryIO

from datasets import load_dataset
from pydantic import BaseModel, TypeAdapter, ValidationError, field_validator

from sds_hf.errors import one_line
from sds_hf.layout import MANIFEST, read_manifest


class SnapshotError(ValueError):
    """A published dataset that cannot be had; the message says what to do."""


class Entry(BaseModel):
    """One file as the manifest lists it: path, SHA-256, bytes, and rows where it is a table."""

    path: str
    sha256: str
    size: int
    rows: int | None = None

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        if PurePosixPath(path).is_absolute() or {"..", "\\"} & {*PurePosixPath(path).parts, *path}:
            raise ValueError("leads out of the dataset")
        return path


@dataclass(frozen=True)
class Stored:
    """One file as it is stored: bytes, and the SHA-256 that the Hub keeps of large files, which nothing is read for."""

    size: int
    sha256: str | None = None


class Snapshot(ABC):
    """A published dataset at one version.

    Attributes:
        name: Hub id or folder.
        revision: commit on the Hub; None of a folder.
    """

    name: str
    revision: str | None = None

    @property
    def title(self) -> str:
        """The name, on the Hub with the commit."""
        return f"{self.name}@{self.revision[:10]}" if self.revision else self.name

    @abstractmethod
    def stored(self) -> dict[str, Stored]:
        """All files by path, without hidden ones."""

    @abstractmethod
    def fetch(self, path: str, *, fresh: bool = False) -> Path:
        """A file on this machine; `fresh` downloads it although there is a copy in the cache.

        Raises:
            FileNotFoundError: if there is none.
        """

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """A file to read parts of."""

    @abstractmethod
    def load(self, config: str = "default", **options: Any) -> Any:
        """The split `train` of a configuration, by `datasets.load_dataset` as anybody calls it."""

    def entries(self, *, fresh: bool = False) -> dict[str, Entry]:
        """What the manifest lists, by path; see `fetch`.

        Raises:
            SnapshotError: if there is no manifest of sds-hf, or it makes no sense.
        """
        try:
            manifest = read_manifest(self.fetch(MANIFEST, fresh=fresh))
        except FileNotFoundError:
            manifest = None
        if manifest is None:
            raise SnapshotError(
                f"{self.name} has no {MANIFEST} of sds-hf: it was not published by it; load it with "
                "datasets.load_dataset"
            )
        try:
            listed = TypeAdapter(list[Entry]).validate_python(manifest.get("files"))
        except ValidationError as error:
            raise SnapshotError(f"{MANIFEST} of {self.name} is damaged: {one_line(error, {})}") from error
        return {entry.path: entry for entry in listed}


class FolderSnapshot(Snapshot):
    """A published folder."""

    def __init__(self, folder: Path) -> None:
        self.name, self._folder = str(folder), folder

    def stored(self) -> dict[str, Stored]:
        """See `Snapshot`."""
        found = ((path, path.relative_to(self._folder)) for path in sorted(self._folder.rglob("*")) if path.is_file())
        return {name.as_posix(): Stored(path.stat().st_size) for path, name in found if not hidden(name)}

    def fetch(self, path: str, *, fresh: bool = False) -> Path:
        """See `Snapshot`."""
        if not (self._folder / path).is_file():
            raise FileNotFoundError(f"{self.name} has no {path}")
        return self._folder / path

    def open(self, path: str) -> BinaryIO:
        """See `Snapshot`."""
        return self.fetch(path).open("rb")

    def load(self, config: str = "default", **options: Any) -> Any:
        """See `Snapshot`."""
        return load_dataset(str(self._folder.absolute()), config, split="train", **options)


def hidden(path: PurePath) -> bool:
    """Whether a file is none of the dataset's, e.g. `.gitattributes`."""
    return any(part.startswith(".") for part in path.parts)
