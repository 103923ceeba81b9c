"""File names of rows: their ids where these are safe names, and told apart on every file system."""

import hashlib
import re

LONGEST = 120
DIGITS = 16  # half as many are the same for two of a hundred thousand names
SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*", re.ASCII)  # a dot would be taken for that of a suffix
UNSAFE = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)
RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)  # of Windows


class FileNames:
    """Names for ids, one after the other.

    An id that is made of letters, digits, `_` and `-` is its own name, unless another differs from it only in case. Any
    other becomes what is left of it and sixteen digits of its SHA-256.

    Attributes:
        changed: ids by the name they got instead.
    """

    def __init__(self) -> None:
        self.changed: dict[str, str] = {}
        self._ids: dict[str, str] = {}  # by name in lower case

    def name(self, row_id: str) -> str:
        """The name of an id.

        Raises:
            ValueError: if the id had a name before.
        """
        name = row_id if self._is_safe(row_id) and row_id.lower() not in self._ids else _hashed(row_id)
        if self._ids.get(row_id.lower()) == row_id or name.lower() in self._ids:
            raise ValueError(f"two rows have the id {row_id!r}; ids must be unique")
        self._ids[name.lower()] = row_id
        if name != row_id:
            self.changed[name] = row_id
        return name

    def _is_safe(self, row_id: str) -> bool:
        return bool(SAFE.fullmatch(row_id)) and len(row_id) <= LONGEST and not RESERVED.fullmatch(row_id)


def _hashed(row_id: str) -> str:
    digest = hashlib.sha256(row_id.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
    return f"{UNSAFE.sub('_', row_id)[: LONGEST - 1 - DIGITS].lstrip('-') or '_'}-{digest}"
