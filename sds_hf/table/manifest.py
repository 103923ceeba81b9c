"""What a score table is made of: the request, how it was carried out, and the file that says so."""

import importlib.metadata
import json
import platform
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sds_hf.clip.checkpoints import model_files
from sds_hf.data.access.paths import read_file
from sds_hf.data.access.remote import reaching
from sds_hf.data.cells import READABLE
from sds_hf.data.content import Content
from sds_hf.data.folder import reader_of
from sds_hf.data.labels import LabelSpace
from sds_hf.errors import public_name
from sds_hf.files import is_remote, write_whole
from sds_hf.limits import read_json
from sds_hf.scores.base.batches import columns_read
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.presets import field_names
from sds_hf.scores.base.score import Score
from sds_hf.scores.classes_present import ClassesPresent
from sds_hf.version import __version__

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

MANIFEST = "manifest.json"
FORMAT = 2
NEEDED = "needed"  # entry of a table some of whose values are skipped: what they were needed for
NAMES = ("source.name", "source.reader")  # what a thing is called decides no number
CONTENT = ("sha256", "columns", "readable_sha256", "parts")  # what an entry `source` says of it
CHECKED = ("source.parts", "source.readable_sha256")  # against the rows, where all of them are read; see `Content`
LOCK = re.compile(r"rank-\d+\.lock")  # of a process at work
DEMO_LIMIT = (
    "the demo's tiny CLIP scored these pictures; it knows only the scenes that the demo draws, and no origin.json "
    "beside them says that they are such: of other pictures its numbers mean little, score with another model"
)
RETRY_HINT = "if only rows that failed have changed, use retry='failed'"
PACKAGES = ("torch", "transformers", "datasets", "pyarrow", "pillow", "numpy")


class OtherRequestError(ValueError):
    """A folder holds scores of another request than is asked for.

    Attributes:
        differing: in what they differ, in words.
    """

    def __init__(self, folder: Path, differing: Sequence[str], way_out: str) -> None:
        self.differing = "; ".join(differing[:3])
        super().__init__(
            f"{folder} holds scores of another request ({self.differing}); choose another out=... or delete it{way_out}"
        )


def request(
    dataset: "Dataset | IterableDataset",
    scores: Sequence[Score],
    labels: LabelSpace,
    rows_per_shard: int,
) -> dict[str, Any]:
    """Everything that decides what is in the shards: settings, no paths; of the dataset's content null, see `Task`.

    Args:
        dataset: what is scored.
        scores: what is computed.
        labels: what indices mean.
        rows_per_shard: how rows are cut.
    """
    from datasets import Dataset

    columns = columns_read(scores)
    read_columns = {"columns": columns} if set(columns) > set(READABLE) else {}
    length = {"rows": len(dataset)} if isinstance(dataset, Dataset) else {"stream": True}
    return {
        "format": FORMAT,
        "source": {**length, "sha256": None, **read_columns},
        "scores": [{**score.identity(), "labels": labels.name} for score in scores],
        "labels": asdict(labels),
        "rows_per_shard": rows_per_shard,
    }


def circumstances(scores: Sequence[Score], reader: str | None = None) -> dict[str, Any]:
    """What is worth knowing of a run besides what was asked.

    Args:
        scores: what is computed.
        reader: what wrote the dataset's folder, see `reader_of`; `demo` for the scenes that the demo draws.
    """
    from sds_hf.clip.device import current_device

    models = {name: about for score in scores for name, about in score.models().items()}
    return {
        "models": models,
        "fitted": {score.name: summary for score in scores if (summary := score.fit_summary())},
        "notes": [note for score in scores for note in score.notes()],
        **limits_of(models, reader),
        "decoded": [*(["image"] if any("image" in score.reads for score in scores) else []), "mask"],
        "device": str(current_device()),
        "versions": versions(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def versions() -> dict[str, str]:
    """Versions of what scores and selects."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"sds-hf": __version__, "python": platform.python_version(), **packages}


def source_entry(name: str, source: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of the dataset: what to call it elsewhere, what read it, and what the request says of it."""
    reader = reader_of(name)
    return {"name": public_name(name), **({"reader": reader} if reader else {}), **source}


def contents_of(about: Mapping[str, Any]) -> list[Content]:
    """What a manifest or the provenance of a selection says of the content of the dataset, that of most columns first.

    Of tables that were joined without the dataset at hand several contents may be known: all have to be its.
    """
    parts = [Content.of(part, part["scores"]) for part in about["source"].get("parts", ())]
    known = {ClassesPresent.name, *(name for part in parts for name in part.scores)}
    rest = [entry["score"] for entry in about.get("scores", ()) if entry["score"] not in known]
    return [Content.of(about["source"], rest), *parts]


def with_contents(source: Mapping[str, Any], contents: Sequence[Content]) -> dict[str, Any]:
    """What a manifest says of a dataset with these contents, that of most columns first; see `contents_of`."""
    told = {name: value for name, value in source.items() if name not in CONTENT}
    whole, *parts = contents
    listed = [{"scores": list(part.scores), "columns": list(part.columns), **part.entry()} for part in parts]
    return {**told, **whole.entry(), **({"parts": listed} if parts else {})}


def limits_of(models: Mapping[str, Mapping[str, Any]], reader: str | None) -> dict[str, list[str]]:
    """The entry `limits` of a manifest: what limits the worth of all numbers, if a model knows other pictures only.

    Args:
        models: as a manifest has them, by name.
        reader: see `circumstances`.
    """
    from_demo = model_files("demo").digest in {about["digest"] for about in models.values()}
    return {"limits": [DEMO_LIMIT]} if from_demo and reader != "demo" else {}


def stored_settings(entries: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The settings of a table's scores by their names, as its manifest has them, without what follows from the data.

    Scores that are not known here are left out, as is `classes_present`, which comes by itself.
    """
    settings, classes = {}, score_classes()
    for entry in entries:
        if entry["score"] in classes and entry["score"] != ClassesPresent.name:
            names = field_names(classes[entry["score"]]) - {"labels", "statistics"}
            settings[entry["score"]] = {name: value for name, value in entry.items() if name in names}
    return settings


def stored_scores(entries: Iterable[Mapping[str, Any]], labels: str = "auto") -> list[Score]:
    """The scores of `stored_settings`, of a label space."""
    return [
        score_classes()[name](**{**settings, "labels": labels}) for name, settings in stored_settings(entries).items()
    ]


def check_request(out: Path, new_request: dict[str, Any], ignore: Collection[str] = ()) -> dict[str, Any]:
    """The manifest of an unfinished or finished table of the same request in the folder; empty if there is none.

    Args:
        out: the folder.
        new_request: what `request` says.
        ignore: names in which the requests may differ, e.g. `source.sha256`, with all below them.

    Raises:
        OtherRequestError: if the folder holds scores of another request; names what differs.
        ValueError: if it holds something else.
    """
    manifest = read_manifest(out)
    if manifest is None:
        if any(out.glob("scores-*.parquet")):
            raise ValueError(f"{out} holds scores without {MANIFEST}; choose another out=... or delete it")
        if not is_remote(out) and out.is_dir():
            _check_only_begun(out)
        return {}
    old, new = (
        _flat({key: value.get(key) for key in new_request}) for value in (manifest, json.loads(json.dumps(new_request)))
    )
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    names = [
        name for name in names if not f"{name}.".startswith(tuple(f"{one}." for one in (*NAMES, *CHECKED, *ignore)))
    ]
    # A model is its digest, wherever it lies; where digests differ, its name helps to see why.
    digests = {name for name in {**old, **new} if name.endswith("_digest")}
    names = [name for name in names if f"{name}_digest" not in digests or f"{name}_digest" in names]
    whole_scores = [
        name.removesuffix("score") for name in names if name.startswith("scores.") and name.endswith(".score")
    ]
    names = [name for name in names if name.endswith(".score") or not name.startswith(tuple(whole_scores))]
    if names:
        differing = [_difference(name, old.get(name), new.get(name)) for name in names]
        raise OtherRequestError(out, differing, _way_out(names, manifest, new))
    return manifest


def _difference(name: str, old: Any, new: Any) -> str:
    """What differs between a manifest and a request, in words."""
    if name == "source.sha256":
        return "the dataset's rows have changed, or their order"
    if name == "source.rows" and new is not None:
        return f"the dataset had {old} rows, now {new}"
    if name.endswith(".score") and name.startswith("scores."):
        return f"{old} is in it and not asked for" if new is None else f"{new} is not in it"
    return f"{name} is {_short(old)}, now {_short(new)}"


def _way_out(names: Sequence[str], manifest: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What else can be done where a manifest and a request differ in some names, of which that has new values."""
    if names == ["source.sha256"] and manifest.get("failed"):
        return f"; {RETRY_HINT}"
    if names == ["rows_per_shard"]:
        return f", or go on with rows_per_shard={manifest['rows_per_shard']}"
    wanted = any(new.get(name) is not None for name in names)
    if wanted and all(name.startswith(("source.columns", "scores.")) for name in names):
        return "; `sds-hf score` with its option `add` adds scores to it"
    return ""


def _check_only_begun(out: Path) -> None:
    """Refuse a folder that holds anything but what is there before there is a manifest.

    Raises:
        ValueError: names something else.
    """
    for path in sorted(out.iterdir()):
        if not path.name.startswith(".") and path.name != "lost+found" and not LOCK.fullmatch(path.name):
            raise ValueError(f"{out} holds {path.name}, which is none of a score table: choose a new out=...")


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested JSON as dotted names: {"scores.pcs.seed": 0}."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{name}.{key}" if name else key).items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) and "score" in item for item in value):
        return {k: v for item in value for k, v in _flat(item, f"{name}.{item['score']}").items()}
    return {name: value}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 40 else text[:36] + "..."


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, None if there is none.

    Raises:
        ValueError: if it is something else, or of another format.
        OSError: if the store it is in cannot be reached.
    """
    path = folder / MANIFEST
    with reaching(folder):
        if not path.exists():
            return None
        data = path.read_bytes() if is_remote(folder) else read_file(path)
    try:
        manifest = read_json(data)
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or "rows_per_shard" not in manifest:
        raise ValueError(f"{path} is no manifest of a score table: choose another folder or move it away")
    if manifest.get("format") != FORMAT:
        raise ValueError(
            f"{path} has the format {manifest.get('format')!r}, and this sds-hf reads {FORMAT}: update sds-hf, or "
            "score into another folder"
        )
    return manifest


def write_manifest(folder: Path, value: dict[str, Any]) -> None:
    """Replace the manifest of a folder at once."""
    write_whole(folder / MANIFEST, json.dumps(value, indent=2) + "\n")
