"""Folders elsewhere, as `UPath` has them, and those in a bucket of the Hub: `hf://buckets/user/name/folder`."""

from typing import Any

from upath import UPath
from upath.implementations.cloud import HfPath
from upath.registry import register_implementation


def remote_folder(address: str) -> UPath:
    """The folder at an address that fsspec knows."""
    return UPath(address)


class BucketPath(HfPath):
    """What `UPath` makes of such an address, which only reads.

    Others write into the same folder at the same time, so nothing that was listed before is believed.
    """

    __slots__ = ()

    @property
    def fs(self) -> Any:
        """The file system of the Hub, as it is now."""
        system = super().fs
        system.invalidate_cache()
        return system

    def exists(self, **options: Any) -> bool:
        """Whether there is such a file or folder."""
        try:
            return bool(super().exists(**options))
        except KeyError:  # the client stumbles over a folder that appears between two of its requests
            return bool(super().exists(**options))

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a folder comes with its first file."""

    def read_bytes(self) -> bytes:
        """All that is in a file.

        Raises:
            FileNotFoundError: if there is none, also if another process removes it between the two requests it takes.
        """
        try:
            return bytes(super().read_bytes())
        except OSError as error:  # what the Hub answers is one too
            if self.exists():
                raise
            raise FileNotFoundError(f"{self} is not there any more") from error

    def write_bytes(self, data: Any) -> int:
        """Put a file there, whole."""
        with self.fs.open(self.path, "wb") as file:
            file.write(bytes(data))
        return len(data)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove a file.

        Raises:
            FileNotFoundError: if there is none.
        """
        try:
            self.fs.rm_file(self.path)
        except OSError:  # what the Hub answers is one too
            if not missing_ok or self.exists():
                raise


register_implementation("hf", BucketPath, clobber=True)
