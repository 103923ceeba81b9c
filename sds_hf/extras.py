"""Packages that only some selectors need, imported when they are."""

from importlib import import_module
from typing import Any

PACKAGES = {"sklearn": "scikit-learn", "cv2": "OpenCV", "skimage": "scikit-image"}


def selector_module(name: str) -> Any:
    """A module of a package of the extra `selectors`.

    Raises:
        ModuleNotFoundError: if it is not installed; says how to.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = PACKAGES[name.split(".")[0]]
        raise ModuleNotFoundError(f'this needs {package}: pip install "sds-hf[selectors]"') from error
