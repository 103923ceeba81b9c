"""`sds-hf recipes`: the recipes of the package."""

from importlib.resources import files

from sds_hf.cli import options


def command(json: options.Json = False, debug: options.Debug = False) -> None:
    """List every recipe of the package with what it keeps and who published it."""
    from sds_hf.cli import show
    from sds_hf.selection.recipe import Recipe, recipe_names

    entries = []
    for name in recipe_names():
        about, source = described(
            (files("sds_hf") / "selection" / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
        )
        recipe = Recipe.load(name)
        rules = [rule.label for rule in recipe.rules]
        entries.append(
            {"recipe": name, "about": about, "source": source, "scores": list(recipe.scores), "rules": rules}
        )
    if json:
        return options.print_json(entries)
    return show.recipes(entries)


def described(text: str) -> tuple[str, str]:
    """What the comment at the top of a recipe says: what it keeps, and its source."""
    lines = text.partition("name:")[0].splitlines()
    about, _, source = " ".join(line.removeprefix("#").strip() for line in lines).partition(" Source: ")
    return about, source
