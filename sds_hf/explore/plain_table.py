"""Scores of any kind as one Parquet file that the page reads like a score table."""

import re
from dataclasses import dataclass
from pathlib import Path

import duckdb

from sds_hf.explore.bundle import short_digest
from sds_hf.files import cache_folder
from sds_hf.selection.duck import database, is_list_of_ids, literal, quoted
from sds_hf.selection.source import Scores, open_scores
from sds_hf.table.partial.needs import SKIPPED

NUMBERS = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*")
OWN = ("id", "row", "caption", "status", "error")  # that are read otherwise
MOST_GROUPS = 500  # texts of more different values are no groups


@dataclass(frozen=True)
class PlainTable:
    """Scores as the page reads them.

    Attributes:
        path: Parquet file with `id`, `row`, numbers, texts of few values, classes, `status` and `error`.
        class_names: by index; empty if they are not known.
        halves: columns that were float16.
        key: what tells it from others.
    """

    path: Path
    class_names: list[str]
    halves: list[str]
    key: str


def plain_table(scores: str, identities: str) -> PlainTable:
    """Rows that `select` reads, in one file that is kept on this machine.

    Args:
        scores: Parquet file or pattern.
        identities: what changes when the files do.

    Raises:
        ValueError: if there are none, or rows cannot be read.
    """
    key = short_digest(f"{scores}|{identities}")
    path = cache_folder("explore") / key / "table.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with database() as connection:
        source = open_scores(scores, connection)
        if not path.exists():
            part = path.with_suffix(".part")
            connection.execute(
                f"""COPY (SELECT {", ".join(_columns(source, connection))} FROM {source.sql} ORDER BY 2)
                    TO {literal(str(part))} (FORMAT PARQUET)"""
            )
            part.replace(path)
        return PlainTable(path, source.class_names, sorted(source.halves), key)


def _columns(source: Scores, connection: duckdb.DuckDBPyConnection) -> list[str]:
    """SQL of each column, under its name."""
    columns = [f"CAST({source.columns['id']} AS VARCHAR) AS id", f'CAST({source.number} AS BIGINT) AS "row"']
    for name, sql in source.columns.items():
        kind = source.types[name]
        if name in OWN:
            continue
        is_read = name == SKIPPED or NUMBERS.fullmatch(kind) or is_list_of_ids(kind)
        if kind.startswith("DECIMAL"):
            columns.append(f"CAST({sql} AS DOUBLE) AS {quoted(name)}")
        elif is_read or (kind == "VARCHAR" and _is_few(sql, source, connection)):
            columns.append(f"{sql} AS {quoted(name)}")
    status = f"CASE WHEN {source.problem} IS NULL THEN 'ok' ELSE 'failed' END AS status"
    return [*columns, status, f"{source.problem} AS error"]


def _is_few(sql: str, source: Scores, connection: duckdb.DuckDBPyConnection) -> bool:
    counts = connection.execute(f"SELECT count(DISTINCT {sql}) FROM {source.sql}").fetchall()
    return bool(0 < counts[0][0] <= MOST_GROUPS)
