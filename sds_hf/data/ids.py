"""Ids of rows: each once, in a set of any size; 8 bytes a row are held, not the ids."""

from collections.abc import Callable, Iterable

import numpy as np


class RepeatedIdError(ValueError):
    """An id that two rows have."""

    def __init__(self, name: str, first: int, second: int) -> None:
        first, second = sorted((first, second))
        super().__init__(
            f"the id {name!r} occurs more than once, in rows {first} and {second}; scores are joined by id, so ids "
            "must be unique"
        )


def repeated_ids(read: Callable[[], Iterable[str | None]]) -> dict[str | None, list[int]]:
    """Ids that more than one row has, with the numbers of these rows.

    Args:
        read: gives all ids in order; called again where there may be some.
    """
    hashes, counts = np.unique(np.fromiter(map(hash, read()), np.int64), return_counts=True)
    suspects = set(hashes[counts > 1].tolist())
    rows: dict[str | None, list[int]] = {}
    for row, name in enumerate(read()) if suspects else ():
        if hash(name) in suspects:
            rows.setdefault(name, []).append(row)
    return {name: numbers for name, numbers in rows.items() if len(numbers) > 1}
