"""`sds-hf scores`: what there is to choose from, and the settings of one."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from sds_hf.cli import completion, options

if TYPE_CHECKING:
    from sds_hf.cli.settings import Setting


def command(
    name: Annotated[str | None, options.entry("A score", "its settings are listed", completion.scores)] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List every score with what it writes, what it reads, what it costs and who published it; of one, its settings."""
    from sds_hf.cli import show, show_catalog
    from sds_hf.cli.answer import answer
    from sds_hf.scores.base.catalog import catalog, score_named

    chosen = score_named(name) if name else None
    entries = [entry for entry in catalog() if name in (None, entry.name)]
    settings = _settings(chosen) if chosen else []
    if json:
        listed = {"scores": [asdict(entry) for entry in entries], "settings": [asdict(one) for one in settings]}
        return answer("scores", listed, counts={"scores": len(entries)})
    show_catalog.scores(entries)
    if not chosen:
        show_catalog.costs()
        return show.next_steps([["sds-hf", "scores", "pcs"]])
    show_catalog.settings(settings)
    setting = next(one for one in settings if not one.required)
    value = f"scores.{name}.{setting.name}={show_catalog.as_yaml(setting.default)}"
    return show.next_steps(
        [["sds-hf", "score", "DATASET", "--scores", name, "--set", value, "--out", f"{name}-scores"]]
    )


def _settings(score: type) -> "list[Setting]":
    from sds_hf.cli.settings import settings_of  # which loads more than a list of names needs

    return settings_of(score)
