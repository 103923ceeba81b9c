"""What a publication says of the publisher's machine: names of files and folders, never where they lie."""

from pathlib import Path
from typing import Any

# Settings that may be paths.
PATHS = ("path", "dataset", "labels", "prompts", "table", "images", "masks", "model", "fitted", "file")
NAMED = "models"  # whose keys may be paths


def public_name(name: str) -> str:
    """What to call a source or model elsewhere: a folder of the publisher's machine by its last part only."""
    return Path(name).name if Path(name).is_absolute() or name.startswith(("~", "./", "../")) else name


def disclosed(value: Any) -> Any:
    """Nested settings or provenance as it may be published."""
    if isinstance(value, list):
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
            public[name] = disclosed(inner)
    return public
