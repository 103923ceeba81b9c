"""Find a checkpoint on this machine or on the Hub and say what it is. Nothing here imports torch or transformers."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from textwrap import shorten

from sds_hf.files import sha256_of

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "openai/clip-vit-base-patch16"
TOKENIZER_FILES = {"tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model"}  # one of them
WANTED_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
CONVERSION_TITLE = "Adding `safetensors` variant of this model"  # opened by the Hub's own bot for old checkpoints
CONVERSION_BOT = "SFconvertbot"


WAY_OUT = (
    "use model='demo', which ships with sds-hf, or the path of a local folder with config.json and model.safetensors"
)
OTHER_WAY_OUT = "give the path of a local folder with config.json and model.safetensors"  # of models other than CLIP


class ModelNotFoundError(ValueError):
    """A model that cannot be had; the message says what else can be used."""


@dataclass(frozen=True)
class ModelFiles:
    """A checkpoint on this machine.

    Attributes:
        name: what was asked for.
        folder: where it lies.
        weights_sha256: digest of the weights.
        digest: digest of everything that decides an embedding: weights, configuration, tokenizer, preprocessing.
    """

    name: str
    folder: Path
    weights_sha256: str
    digest: str


def model_files(model: str, way_out: str = WAY_OUT, with_texts: bool = True) -> ModelFiles:
    """Find a model: `"demo"`, a local folder, or a Hub id with an optional `@revision`, downloaded if need be.

    A folder whose files have other sizes or times than before is read anew, so that weights that change are noticed.

    Args:
        model: what to find.
        way_out: what an error says can be done instead.
        with_texts: whether the model reads texts, so that it needs a tokenizer.

    Raises:
        ModelNotFoundError: if it cannot be had or is not complete.
    """
    if model == "demo":
        folder = _demo_folder()
    elif Path(model).is_dir():
        folder = Path(model)
    elif model.startswith((".", "/", "~")) or model.partition("@")[0].count("/") > 1:
        raise ModelNotFoundError(f"cannot get model {model!r} (there is no such folder); {way_out}")
    else:
        folder = _download(model, way_out)
    return _read(model, folder, _state(folder), way_out, with_texts)


def _state(folder: Path) -> tuple[object, ...]:
    """What changes when a file of a folder does."""
    with os.scandir(folder) as entries:
        stats = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
    return tuple(sorted((name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for name, s in stats))


@lru_cache(maxsize=64)
def _read(model: str, folder: Path, state: tuple[object, ...], way_out: str, with_texts: bool) -> ModelFiles:
    weights = sorted(folder.glob("*.safetensors"))
    file_names = {path.name for path in folder.iterdir()}
    lacks_texts = with_texts and not file_names & TOKENIZER_FILES
    if not has_weights(file_names) or "config.json" not in file_names or lacks_texts:
        raise ModelNotFoundError(
            f"model {model!r} needs config.json, *.safetensors weights (nothing else is read)"
            f"{' and a tokenizer' if with_texts else ''}, and has {sorted(file_names)} in {folder}"
            f"{_passed_over(file_names)}; {way_out}"
        )
    settings = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".txt", ".model"))
    sums = {path.name: sha256_of(path) for path in (*weights, *settings)}
    weights_sum = (
        sums[weights[0].name] if len(weights) == 1 else _sum_of({path.name: sums[path.name] for path in weights})
    )
    return ModelFiles(model, folder, weights_sum, _sum_of(sums))


def has_weights(file_names: Iterable[str]) -> bool:
    """Whether there are weights that `transformers` reads; `open_clip_model.safetensors` are another library's."""
    return any(re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors", name) for name in file_names)


def _passed_over(file_names: set[str]) -> str:
    """Why weights that are there do not count."""
    if foreign := sorted(name for name in file_names if name.endswith(".safetensors")):
        return f", of which {foreign[0]} is of another library than transformers, whose weights are model.safetensors"
    pickles = sorted(name for name in file_names if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl")))
    return f", of which {pickles[0]} is a pickle and could run code" if pickles else ""


def _sum_of(sums: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def _demo_folder() -> Path:
    return Path(str(files("sds_hf") / "demo" / "clip"))


@cache
def _download(model: str, way_out: str) -> Path:
    from huggingface_hub import snapshot_download

    repo_id, _, revision = model.partition("@")
    try:
        weights_revision = revision or _safetensors_revision(repo_id)
        return Path(snapshot_download(repo_id, revision=weights_revision, allow_patterns=WANTED_FILES))
    except Exception as error:  # whatever the network, the Hub or its cache came up with: the way out is the same
        if not revision and (cached := _cached(repo_id)):
            logger.info("%s: the Hub cannot be asked; using %s", repo_id, cached)
            return cached
        raise ModelNotFoundError(f"cannot get model {model!r} ({reason_of(error)}); {way_out}") from error


def _safetensors_revision(repo_id: str) -> str | None:
    """The pull request with converted weights if the main branch has none; None for the main branch."""
    from huggingface_hub import HfApi

    api = HfApi()
    if has_weights({file.rfilename for file in api.model_info(repo_id).siblings or ()}):
        return None
    for discussion in api.get_repo_discussions(repo_id, author=CONVERSION_BOT, discussion_type="pull_request"):
        description = (discussion.author, discussion.title, discussion.status)
        if description == (CONVERSION_BOT, CONVERSION_TITLE, "open"):
            logger.info("%s: reading the converted weights of pull request %d", repo_id, discussion.num)
            return discussion.git_reference
    return None


def _cached(repo_id: str) -> Path | None:
    """The newest copy with weights that an earlier download left."""
    from huggingface_hub.constants import HF_HUB_CACHE

    copies = Path(HF_HUB_CACHE, f"models--{repo_id.replace('/', '--')}", "snapshots").glob("*")
    usable = [copy for copy in copies if (copy / "config.json").exists() and has_weights(os.listdir(copy))]
    return max(usable, key=lambda copy: copy.stat().st_mtime, default=None)


def reason_of(error: Exception) -> str:
    """An error's message in one line."""
    return shorten(str(error), 200, placeholder=" ...") or type(error).__name__
