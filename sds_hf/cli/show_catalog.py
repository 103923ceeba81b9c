"""What the command line shows of what there is to choose from: scores, rules, recipes, readers, models."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from sds_hf.cli.show import out
from sds_hf.cli.terminal import text

if TYPE_CHECKING:
    from sds_hf.cli.settings import Setting
    from sds_hf.scores.base.catalog import Entry


def scores(entries: "list[Entry]") -> None:
    """The scores there are."""
    table = _plain_table()
    for entry in entries:
        cost = f"{entry.cost}, fitted" if entry.whole_set else entry.cost
        optional = f"; with some settings also {', '.join(entry.optional_columns)}" if entry.optional_columns else ""
        about = f"columns {', '.join(entry.columns)}{optional}", f"reads {', '.join(entry.needs)}"
        table.add_row(
            text("[bold]{}[/]\n{}", entry.name, cost),
            text("{}\n{}\n{}\n[dim]{}[/]", entry.meaning, *about, entry.source),
        )
    out.print(table)


def costs() -> None:
    """The words for what a score costs."""
    out.print(
        "light: no model; forward: one pass of the image encoder a row; forwards: several; dense: a pass at the "
        "image's own resolution; fitted: reads the whole set first, with some settings at least"
    )


def settings(settings: "Sequence[Setting]") -> None:
    """The settings of a score or a rule."""
    table = _plain_table()
    for setting in settings:
        default = "required" if setting.required else f"default {as_yaml(setting.default)}"
        table.add_row(
            text("[bold]{}[/]", setting.name), text("{}\n[dim]{}; {}[/]", setting.meaning, default, setting.possible)
        )
    out.say("[bold]Settings[/]")
    out.print(table)


def named(meanings: Mapping[str, str]) -> None:
    """Names, and a sentence about each."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    for name, meaning in meanings.items():
        table.add_row(text("[bold]{}[/]", name), text("{}", meaning))
    out.print(table)


def models(models: Sequence[Mapping[str, Any]]) -> None:
    """Models, and whether each is here."""
    table = _plain_table()
    for model in models:
        here = "here" if model["here"] else "fetched from the Hub on first use"
        table.add_row(
            text("[bold]{}[/]", model["name"]),
            text("{}\n[dim]{}; setting {}[/]", model["about"], here, model["setting"]),
        )
    out.print(table)
    out.print(
        "A Hub id or a local folder of any other CLIP or SigLIP with a ViT works too, if its weights are safetensors."
    )


def recipes(recipes: list[dict[str, Any]]) -> None:
    """The recipes of the package."""
    table = Table(box=None, padding=(0, 2, 1, 0))
    for name in ("recipe", "rules", "what it keeps, and source"):
        table.add_column(name, no_wrap=name == "recipe")
    for recipe in recipes:
        words = text("{}\n[dim]{}[/]", recipe["about"], recipe["source"])
        table.add_row(recipe["recipe"], "\n".join(recipe["rules"]), words)
    out.print(table)


def as_yaml(value: Any) -> str:
    """A setting's value as a recipe or `--set` has it."""
    import yaml

    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()


def first_sentence(words: str) -> str:
    """The first sentence of a docstring."""
    return re.split(r"(?<=\.)\s", " ".join(words.split()), maxsplit=1)[0]


def _plain_table() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 1, 0))
    table.add_column(no_wrap=True)
    return table
