"""The one shape in which every command answers programs (`--json`)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sds_hf.errors import plain

if TYPE_CHECKING:
    from sds_hf.check.verify import Verification
    from sds_hf.publishing.publish import Published
    from sds_hf.selection.report import Report

KEYS = ("name", "out", "counts", "steps", "bounds", "warnings", "result")


def answer(
    name: str,
    result: Mapping[str, Any] | None = None,
    *,
    out: Any = None,
    counts: Mapping[str, int] | None = None,
    report: "Report | None" = None,
    bounds: Mapping[str, Mapping[str, float]] | None = None,
    warnings: Sequence[str] = (),
) -> None:
    """Print what a command did.

    Args:
        name: of the command.
        result: what this command alone says.
        out: what was written: a folder, a file or a Hub id; None if nothing was.
        counts: numbers of rows, files and the like.
        report: of a selection, for counts, steps, bounds and warnings.
        bounds: values that part rows, by column and the bound's name.
        warnings: what a person should look at.
    """
    if report is not None:
        counts = {"rows": report.rows, "kept": report.kept, "failed": report.failed, **(counts or {})}
        warnings = [*limits(report), *report.warnings, *warnings]
    steps = report.steps if report else []
    cutoffs = [cutoff for step in steps for cutoff in step.cutoffs.items()]
    print_json(
        {
            "name": name,
            "out": None if out is None else str(out),
            "counts": counts or {},
            "steps": [step.model_dump() for step in steps],
            "bounds": bounds or _merged(cutoffs),
            "warnings": list(warnings),
            "result": result or {},
        }
    )


def answer_published(
    name: str, published: "Published", verification: "Verification | None" = None, **results: Any
) -> None:
    """Print what was published, and what was checked after a push.

    Args:
        name: of the command.
        published: where, and what.
        verification: of what was pushed.
        **results: what else this command says.
    """
    report = published.report
    result = {
        "files": published.files, "removed": published.removed, "revision": published.revision, "tag": published.tag,
        "url": published.url, "dry_run": published.dry_run,
        "changes": report.changes.summary() if report.changes else [], **results,
        **({"verified": verified(verification)} if verification else {}),
    }  # fmt: skip
    extra = [warning for warning in published.warnings if warning not in report.warnings]
    counts = {"files": len(published.files), "bytes": sum(published.files.values())}
    answer(name, result, out=published.target, counts=counts, report=report, warnings=extra)


def verified(verification: "Verification") -> dict[str, Any]:
    """What was checked."""
    checks = [asdict(check) for check in verification.checks]
    return {"target": verification.target, "revision": verification.revision, "ok": verification.ok, "checks": checks}


def answer_error(kind: str, message: str, code: int, repeats: bool) -> None:
    """Print why a command stopped, where its answer would stand.

    Args:
        kind: of the error, e.g. `EmptySelectionError`.
        message: in one line.
        code: with which the program ends.
        repeats: whether the same call would fail again; where not, a disk or a network may be to blame.
    """
    print_json({"error": {"type": kind, "message": message, "exit_code": code, "repeats": repeats}})


def limits(report: "Report") -> list[str]:
    """What limits the worth of the scores, a sentence each."""
    return list(report.provenance.get("limits", []))


def print_json(value: Any) -> None:
    """For programs; what a terminal would obey is escaped as JSON has it."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    print("".join(c if c == "\n" or plain(c) == c else json.dumps(c)[1:-1] for c in text))


def _merged(cutoffs: Sequence[tuple[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Bounds of all rules by column; where two rules of a column have a bound of one name, the later one's."""
    bounds: dict[str, dict[str, float]] = {}
    for column, values in cutoffs:
        bounds.setdefault(column, {}).update(values)
    return bounds
