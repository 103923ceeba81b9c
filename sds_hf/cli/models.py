"""`sds-hf models`: what can look at images, and what of it is on this machine."""

from dataclasses import asdict

from sds_hf.cli import options


def command(json: options.Json = False, debug: options.Debug = False) -> None:
    """List models that scores can ask, and whether each is on this machine. Any other CLIP with a ViT works too."""
    from sds_hf.cli import show, show_catalog
    from sds_hf.cli.answer import answer
    from sds_hf.cli.model_list import MODELS, is_here

    listed = [{**asdict(model), "here": is_here(model.name)} for model in MODELS]
    if json:
        here = sum(bool(model["here"]) for model in listed)
        return answer("models", {"models": listed}, counts={"models": len(listed), "here": here})
    show_catalog.models(listed)
    return show.next_steps([["sds-hf", "score", "DATASET", "--model", "demo", "--out", "demo-scores"]])
