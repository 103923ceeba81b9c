"""What the shell offers for an argument: names of ours."""


def scores(incomplete: str) -> list[str]:
    """Scores, of which several can stand with commas between them."""
    from sds_hf.scores.base.catalog import score_classes

    begun, comma, last = incomplete.rpartition(",")
    return [f"{begun}{comma}{name}" for name in sorted(score_classes()) if name.startswith(last)]


def fitted_scores(incomplete: str) -> list[str]:
    """Scores that are fitted to a reference set."""
    from sds_hf.scores.base.catalog import score_classes

    return _beginning(sorted(name for name, score in score_classes().items() if score.reference_sets), incomplete)


def recipes(incomplete: str) -> list[str]:
    """Recipes of the package; files are the shell's own."""
    from sds_hf.selection.recipe import recipe_names

    return _beginning(recipe_names(), incomplete)


def rules(incomplete: str) -> list[str]:
    """Kinds of rules."""
    from sds_hf.selection.rules import RULES

    return _beginning(sorted(RULES), incomplete)


def readers(incomplete: str) -> list[str]:
    """Readers of raw layouts."""
    from sds_hf.data.sources import READERS

    return _beginning(["auto", *sorted(READERS)], incomplete)


def formats(incomplete: str) -> list[str]:
    """Formats of `export`."""
    from sds_hf.exports import FORMATS

    return _beginning(sorted(FORMATS), incomplete)


def models(incomplete: str) -> list[str]:
    """Models for `--model`."""
    from sds_hf.cli.model_list import MODELS

    return _beginning([model.name for model in MODELS if model.setting == "model"], incomplete)


def labels(incomplete: str) -> list[str]:
    """Label spaces."""
    from sds_hf.data.labels import SPACES

    return _beginning(list(SPACES), incomplete)


def dtypes(incomplete: str) -> list[str]:
    """Precisions."""
    from typing import get_args

    from sds_hf.clip.kinds import DTypeName

    return _beginning(list(get_args(DTypeName)), incomplete)


def _beginning(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
