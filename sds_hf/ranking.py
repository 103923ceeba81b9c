"""The place of each row in its groups, by sorts that may be larger than memory."""

from sds_hf.candidates import Candidates


def rank(candidates: Candidates, family: str, *, group: str, key: str, where: str = "true", best: str = "DESC") -> None:
    """Make the view `<family>_ranks`: `row`, `grp`, `rank` from 1, `group_size`; a line a row and group.

    Equal keys are ordered by id. One sort of all lines may be larger than memory, and is faster than a window.

    Args:
        candidates: the rows.
        family: name of the view.
        group: SQL of a row's group, or of the list of its groups, in columns of the candidates.
        key: SQL of what orders a group.
        where: SQL of which rows take part, besides being in.
        best: `DESC` if the highest key comes first, else `ASC`.
    """
    several = str(candidates.types_of(f"(SELECT {group} AS grp FROM {candidates.rows})")["grp"]).endswith("[]")
    grp, has_group = (f"unnest({group})", f"list_count({group}) > 0") if several else (group, f"{group} IS NOT NULL")
    takes_part = f"dropped IS NULL AND ({where}) AND {has_group}"
    candidates.execute(
        f"""CREATE TABLE {family}_sorted AS SELECT "row", grp FROM (
                SELECT "row", {candidates.tie} AS tie, {key} AS key, {grp} AS grp FROM {candidates.rows}
                WHERE {takes_part})
            WHERE grp IS NOT NULL ORDER BY grp, key {best}, tie"""
    )
    candidates.execute(
        f'CREATE VIEW {family}_rest AS SELECT "row" FROM {candidates.rows} WHERE NOT coalesce({takes_part}, false)'
    )
    candidates.execute(
        f"""CREATE TABLE {family}_groups AS SELECT *, sum(group_size) OVER (ORDER BY grp) - group_size AS before
            FROM (SELECT grp, count(*) AS group_size FROM {family}_sorted GROUP BY grp)"""
    )
    candidates.execute(
        f"""CREATE VIEW {family}_ranks AS SELECT "row", grp, CAST(place - before AS BIGINT) AS rank, group_size
            FROM (SELECT *, row_number() OVER () AS place FROM {family}_sorted) JOIN {family}_groups USING (grp)"""
    )


def cut(candidates: Candidates, family: str, cutoff: str) -> None:
    """Make of the view that `rank` made the table `<family>`: a line a row, in their order.

    It has `grp`, `rank`, `group_size` and `cutoff`, the last rank that stays; nulls for a row that is out or in no
    group. A row of several groups is listed under the first, in the groups' order, that keeps it, else under the
    one it came closest in.

    Args:
        candidates: the rows.
        family: name of the table.
        cutoff: SQL in `grp` and `group_size`.
    """
    candidates.execute(
        f"""CREATE TABLE {family}_lines AS
            SELECT "row", grp, rank, group_size, CAST(cutoff AS BIGINT) AS cutoff
            FROM (SELECT *, {cutoff} AS cutoff FROM {family}_ranks
                  UNION ALL SELECT "row", NULL, NULL, NULL, NULL FROM {family}_rest)
            ORDER BY "row", CASE WHEN rank <= cutoff THEN -1 ELSE rank / cutoff END, grp"""
    )
    candidates.execute(
        f"""CREATE TABLE {family} AS SELECT grp, rank, group_size, cutoff
            FROM (SELECT *, lag("row") OVER () AS last FROM {family}_lines) WHERE "row" IS DISTINCT FROM last"""
    )
    for made, kind in {
        "ranks": "VIEW",
        "rest": "VIEW",
        "sorted": "TABLE",
        "groups": "TABLE",
        "lines": "TABLE",
    }.items():
        candidates.execute(f"DROP {kind} {family}_{made}")
