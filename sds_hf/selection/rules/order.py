"""Rows in the order of something, by groups, and where each group is cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sds_hf.selection.candidates import Candidates

MOST_GROUPS = 1000  # whose last rows are remembered; of more nobody looks at each


@dataclass(frozen=True)
class Order:
    """What orders rows, in SQL over the candidates.

    Attributes:
        key: what is compared; equal keys are ordered by id.
        best: `DESC` if the highest key comes first, else `ASC`.
        where: which rows take part, besides being in.
        tables: that stand beside the candidates for this.
        note: what is to be known of a row's place.
    """

    key: str
    best: str = "DESC"
    where: str = "true"
    tables: tuple[str, ...] = ()
    note: str = "CAST(NULL AS TINYINT)"


@dataclass(frozen=True)
class Lines:
    """A line a row and group, in SQL.

    Attributes:
        sql: relation with `row`, `tie`, `grp` and further columns.
        rest: relation with the `row` of all others.
    """

    sql: str
    rest: str


def lines_of(
    candidates: Candidates, group: str, where: str, columns: Mapping[str, str], tables: Sequence[str] = ()
) -> Lines:
    """Lines of the rows that take part.

    Args:
        candidates: the rows.
        group: SQL of a row's group, or of the list of its groups, in columns of the candidates.
        where: SQL of which rows take part, besides being in and having a group.
        columns: further columns, with their SQL.
        tables: that stand beside the candidates for this.
    """
    rows = candidates.beside(tables)
    several = str(candidates.types_of(f"(SELECT {group} AS grp FROM {rows})")["grp"]).endswith("[]")
    grp, has_group = (f"unnest({group})", f"list_count({group}) > 0") if several else (group, f"{group} IS NOT NULL")
    takes_part = f"dropped IS NULL AND ({where}) AND {has_group}"
    selected = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    return Lines(
        f"""(SELECT * FROM (SELECT "row", {candidates.tie} AS tie, {grp} AS grp, {selected} FROM {rows}
             WHERE {takes_part}) WHERE grp IS NOT NULL)""",
        f'(SELECT "row" FROM {rows} WHERE NOT coalesce({takes_part}, false))',
    )


def rank(candidates: Candidates, family: str, *, group: str, order: Order) -> None:
    """`rank_lines` of all groups, each in the same order.

    Args:
        candidates: the rows.
        family: name of the view.
        group: SQL of a row's group, or of the list of its groups, in columns of the candidates.
        order: of the rows.
    """
    columns = {"key": order.key, "note": order.note}
    rank_lines(candidates, family, lines_of(candidates, group, order.where, columns, order.tables), order.best)


def rank_lines(candidates: Candidates, family: str, lines: Lines, best: str) -> None:
    """Make the view `<family>_ranks`: `row`, `grp`, `note`, `rank` from 1, `group_size`; a line a row and group.

    Equal keys are ordered by id. One sort of all lines may be larger than memory, and is faster than a window.

    Args:
        candidates: the rows.
        family: name of the view.
        lines: with the columns `key` and `note`.
        best: `DESC` if the highest key comes first, else `ASC`.
    """
    candidates.execute(
        f"""CREATE TABLE {family}_sorted AS SELECT "row", grp, note FROM {lines.sql} ORDER BY grp, key {best}, tie"""
    )
    candidates.execute(f"CREATE VIEW {family}_rest AS FROM {lines.rest}")
    candidates.execute(
        f"""CREATE TABLE {family}_groups AS SELECT *, sum(group_size) OVER (ORDER BY grp) - group_size AS before
            FROM (SELECT grp, count(*) AS group_size FROM {family}_sorted GROUP BY grp)"""
    )
    candidates.execute(
        f"""CREATE VIEW {family}_ranks AS
            SELECT "row", grp, note, CAST(place - before AS BIGINT) AS rank, group_size
            FROM (SELECT *, row_number() OVER () AS place FROM {family}_sorted) JOIN {family}_groups USING (grp)"""
    )


def cut(candidates: Candidates, family: str, cutoff: str, name: str = "''") -> None:
    """Make of the view that `rank` made the table `<family>`: a line a row, in their order.

    It has `grp`, `note`, `rank`, `group_size` and `cutoff`, the last rank that stays; nulls for a row that is out or in
    no group. A row of several groups is listed under the first, in the groups' order, that keeps it, else under the one
    it came closest in.

    Args:
        candidates: the rows.
        family: name of the table.
        cutoff: SQL in `grp` and `group_size`.
        name: SQL in `grp` of what to call a group.
    """
    last_kept = candidates.fetch(
        f"""SELECT {name}, "row" FROM (SELECT grp, "row", row_number() OVER () AS place FROM {family}_sorted)
            JOIN (SELECT grp, before + least({cutoff}, group_size) AS place FROM {family}_groups) USING (grp, place)
            ORDER BY grp LIMIT {MOST_GROUPS + 1}"""
    )
    candidates.last_kept += last_kept if len(last_kept) <= MOST_GROUPS else []
    candidates.execute(
        f"""CREATE TABLE {family}_lines AS
            SELECT "row", grp, note, rank, group_size, CAST(cutoff AS BIGINT) AS cutoff
            FROM (SELECT *, {cutoff} AS cutoff FROM {family}_ranks
                  UNION ALL SELECT "row", NULL, NULL, NULL, NULL, NULL FROM {family}_rest)
            ORDER BY "row", CASE WHEN rank <= cutoff THEN -1 ELSE rank / cutoff END, grp"""
    )
    candidates.execute(
        f"""CREATE TABLE {family} AS SELECT grp, note, rank, group_size, cutoff
            FROM (SELECT *, lag("row") OVER () AS last FROM {family}_lines) WHERE "row" IS DISTINCT FROM last"""
    )
    for suffix, kind in {
        "ranks": "VIEW",
        "rest": "VIEW",
        "sorted": "TABLE",
        "groups": "TABLE",
        "lines": "TABLE",
    }.items():
        candidates.execute(f"DROP {kind} {family}_{suffix}")
