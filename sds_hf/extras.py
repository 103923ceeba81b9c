"""Packages that not everybody needs, imported when they are."""

from importlib import import_module
from typing import Any

PACKAGES = {  # by module: the package, and the extra that brings it
    "sklearn": ("scikit-learn", "selectors"),
    "cv2": ("OpenCV", "selectors"),
    "skimage": ("scikit-image", "selectors"),
    "pycocotools": ("pycocotools", "coco"),
}


def extra_module(name: str) -> Any:
    """A module of a package that is not always installed.

    Raises:
        ModuleNotFoundError: if it is not; names the extra.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package, extra = PACKAGES[name.split(".")[0]]
        raise ModuleNotFoundError(f'this needs {package}: pip install "sds-hf[{extra}]"') from error
