"""Work that has to fit into the memory: less at a time where it does not."""

from collections.abc import Callable, Collection, Hashable
from typing import Any

from sds_hf.rows import Rows

Columns = dict[str, list[Any]]

_fitting: dict[Hashable, int] = {}  # rows at a time that fitted where more did not


def in_parts(
    compute: Callable[[Rows], Columns], rows: Rows, names: Collection[str], key: Hashable
) -> tuple[Columns, dict[int, str]]:
    """Columns of rows, which are halved while they do not fit into the memory; what fitted is remembered.

    Args:
        compute: makes the columns.
        rows: at least one.
        names: of the columns.
        key: stands for what is computed.

    Returns:
        The columns, null for a row that does not fit alone, and for such rows what is wrong.
    """
    columns: Columns = {name: [] for name in names}
    errors: dict[int, str] = {}
    fitted: list[int] = []
    waiting, size = [], _fitting.get(key, len(rows))
    for start in range(0, len(rows), size):
        waiting.append((start, min(start + size, len(rows))))
    waiting.reverse()
    while waiting:
        start, stop = waiting.pop()
        found = _if_it_fits(compute, rows.part(start, stop) if stop - start < len(rows) else rows)
        if found is None and stop - start > 1:
            middle = start + (stop - start) // 2
            waiting += [(middle, stop), (start, middle)]
            continue
        if found is None:
            errors[start] = f"image: {_size(rows, start)} pixels do not fit into the memory that is free"
        else:
            fitted.append(stop - start)
        for name, column in columns.items():
            column += [None] if found is None else found[name]
    if fitted and max(fitted) < min(size, len(rows)):  # one large image says nothing of the others
        _fitting[key] = max(fitted)
    return columns, errors


def _if_it_fits(compute: Callable[[Rows], Columns], rows: Rows) -> Columns | None:
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    try:
        return compute(rows)
    except (RuntimeError, MemoryError) as error:
        if not (isinstance(error, MemoryError) or should_reduce_batch_size(error)):
            raise
    clear_device_cache(garbage_collection=True)
    return None


def _size(rows: Rows, row: int) -> str:
    return "x".join(str(side) for side in rows.images[row].shape[1::-1]) if len(rows.images) else "its"
