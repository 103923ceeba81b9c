"""Pieces of SQL and of arithmetic that stand for themselves."""

CLASSES = "classes_present"


def derived(types: dict[str, str]) -> str:
    """SQL for the columns that follow from others where they are missing."""
    classes = next((name for name in (CLASSES, "classes") if types.get(name, "").endswith("[]")), None)
    columns = {"id": 'CAST("row" AS VARCHAR)'}
    if classes:
        columns |= {CLASSES: classes, "num_classes_present": f"len({classes})"}
    return "".join(f", {sql} AS {name}" for name, sql in columns.items() if name not in types)


def between(low: float, high: float, share: float) -> float:
    """The value at a share of the way from one number to the next; exact where they are the same, infinite or not."""
    return float(low if low == high or share == 0 else low + (high - low) * share)


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string in SQL."""
    return "'" + text.replace("'", "''") + "'"
