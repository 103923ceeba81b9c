"""What a publication says of the publisher's machine: names of files and folders, never where they lie."""

from typing import Any

from sds_hf.errors import public_name, public_text

__all__ = ["disclosed", "public_name", "public_text"]

# Settings that may be paths.
PATHS = (
    "path", "dataset", "labels", "prompts", "table", "images", "masks", "model", "sam3_model", "regions", "fitted",
    "file",
)  # fmt: skip
NAMED = "models"  # whose keys may be paths
DATA = ("names", "prompts", "background_prompts", "template")  # of a label space: what the data says


def disclosed(value: Any) -> Any:
    """Nested settings or provenance as it may be published."""
    if isinstance(value, str):
        return public_text(value)
    if isinstance(value, (list, tuple)):
        return [disclosed(element) for element in value]
    if not isinstance(value, dict):
        return value
    public: dict[str, Any] = {}
    for name, inner in value.items():
        if name == NAMED and isinstance(inner, dict):
            public[name] = {public_name(key): disclosed(model) for key, model in inner.items()}
        elif name in PATHS and isinstance(inner, str):
            public[name] = public_name(inner)
        else:
            public[name] = inner if name in DATA else disclosed(inner)
    return public
