"""`sds-hf recipes`: the recipes of the package, and one to start from."""

from importlib.resources import files
from typing import Annotated

from sds_hf.cli import completion, options

TAIL = """
# For `sds-hf run`, say where the candidates come from and where the kept ones go:
"""
SOURCE = """# source: {path: gen_voc, reader: auto, labels: voc}
"""
PUBLISH = """# publish: {folder: sds-voc, license: cc-by-4.0}
"""


def command(
    name: Annotated[
        str | None, options.entry("A recipe", "its YAML is printed, to start from", completion.recipes)
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List every recipe of the package with what it keeps and who published it; of one, print the YAML."""
    from sds_hf.cli import show, show_catalog
    from sds_hf.cli.answer import answer
    from sds_hf.errors import no_such
    from sds_hf.selection.recipe import Recipe, recipe_names

    if name is not None and name not in recipe_names():
        raise ValueError(no_such("recipe", name, recipe_names()))
    entries = []
    for chosen in [name] if name else recipe_names():
        about, source = described(_text(chosen))
        recipe = Recipe.load(chosen)
        rules = [rule.label for rule in recipe.rules]
        entries.append(
            {"recipe": chosen, "about": about, "source": source, "scores": list(recipe.scores), "rules": rules}
        )
    if json:
        yaml = {"yaml": _text(name)} if name else {}
        return answer("recipes", {"recipes": entries, **yaml}, counts={"recipes": len(entries)})
    if name:
        print(_text(name) + TAIL + SOURCE + ("" if "\npublish:" in _text(name) else PUBLISH), end="")
        return None
    show_catalog.recipes(entries)
    return show.next_steps([["sds-hf", "recipes", "sds-paper"]])


def described(text: str) -> tuple[str, str]:
    """What the comment at the top of a recipe says: what it keeps, and its source."""
    lines = text.partition("name:")[0].splitlines()
    about, _, source = " ".join(line.removeprefix("#").strip() for line in lines).partition(" Source: ")
    return about, source


def _text(name: str) -> str:
    return (files("sds_hf") / "selection" / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
