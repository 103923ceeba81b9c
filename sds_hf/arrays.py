"""Fitted models as files of arrays: nothing in them is unpickled, and a digest names what they hold."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sds_hf.files import sha256_of

ABOUT = "about"  # the entry that says what the arrays are


@dataclass(frozen=True, eq=False)
class FittedModel:
    """What a score was fitted to.

    Attributes:
        kind: name of the score.
        about: settings of the fit and what it found, as JSON has them.
        arrays: by name.
        digest: SHA-256 of the file.
    """

    kind: str
    about: dict[str, Any]
    arrays: dict[str, np.ndarray]
    digest: str


def save_model(path: str | Path, kind: str, about: Mapping[str, Any], **arrays: np.ndarray) -> Path:
    """Write a fitted model; the same model is the same bytes.

    Raises:
        OSError: if the file cannot be written.
    """
    path = Path(path)
    path = path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz")
    text = json.dumps({"kind": kind, **about}, sort_keys=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **{ABOUT: np.array(text)}, **arrays)
    except OSError as error:
        raise OSError(f"cannot write the fitted model {path}: {error.strerror}; choose another file") from error
    return path


def load_model(path: str | Path, kind: str) -> FittedModel:
    """Read what `save_model` wrote; remembered while the file is the same.

    Raises:
        ValueError: if there is no such file, it is damaged, or it was fitted for another score.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no fitted model {path}: give `fitted` the path of a file that `fit` of {kind!r} wrote")
    model = _read(path, sha256_of(path))
    if model.kind != kind:
        raise ValueError(f"{path} was fitted for the score {model.kind!r}; give `fitted` a file of {kind!r}")
    return model


@lru_cache(maxsize=8)
def _read(path: Path, digest: str) -> FittedModel:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(str(arrays.pop(ABOUT)))
        return FittedModel(about.pop("kind"), about, arrays, digest)
    except (ValueError, KeyError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        with path.open("rb") as file:
            is_pickle = file.read(1) == b"\x80"
        if is_pickle or "Object arrays" in str(error):
            raise ValueError(
                f"{path} holds pickled objects, which can run code and are not opened; fit it again"
            ) from error
        raise ValueError(f"{path} is no fitted model of sds-hf or is damaged; fit it again") from error
