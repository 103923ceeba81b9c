"""`sds-hf rules`: what can drop rows, and the settings of one."""

import inspect
from dataclasses import asdict
from typing import Annotated

from sds_hf.cli import completion, options


def command(
    name: Annotated[str | None, options.entry("A rule", "its settings are listed", completion.rules)] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List every rule that a recipe can have; of one, its settings."""
    from sds_hf.cli import show, show_catalog
    from sds_hf.cli.answer import answer
    from sds_hf.cli.settings import settings_of
    from sds_hf.selection.rules.base import RULES, rule_named

    chosen = {name: rule_named(name)} if name else dict(sorted(RULES.items()))
    meanings = {kind: show_catalog.first_sentence(inspect.getdoc(rule) or "") for kind, rule in chosen.items()}
    settings = settings_of(chosen[name]) if name else []
    if json:
        listed = {"rules": meanings, "settings": [asdict(one) for one in settings]}
        return answer("rules", listed, counts={"rules": len(chosen)})
    show_catalog.named(meanings)
    if name:
        return show_catalog.settings(settings)
    return show.next_steps([["sds-hf", "rules", "top_per_group"]])
