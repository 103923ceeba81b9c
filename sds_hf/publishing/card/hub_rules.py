"""What the Hub asks of a dataset card, checked without it, and whether the card says what the data is."""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.parquet as pq

from sds_hf.publishing.card.handwritten import split_card
from sds_hf.publishing.card.metadata import as_list, size_category

if TYPE_CHECKING:
    from datasets import DatasetInfo
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

LICENSE_FILES = ("LICENSE", "LICENSE.md")
PLURALS = {"licenses": "license", "languages": "language"}
LISTS = ("task_categories", "task_ids", "tags")  # the Hub takes nothing but a list
TEXTS = ("size_categories", "annotations_creators", "source_datasets", "language", "license")  # also a single one
SOURCE_DATASET = re.compile(r"original|extended(\|.+)?|[\w.-]+(/[\w.-]+)?")


class Finding(NamedTuple):
    """Something wrong in a card; the Hub takes it if it is not `fatal`."""

    text: str
    fatal: bool = True


@dataclass(frozen=True)
class CardCheck:
    """What is wrong with a card, one line each."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def refuse(self) -> None:
        """Raise if there is an error.

        Raises:
            ValueError: names all errors.
        """
        if self.errors:
            raise ValueError(f"the card (README.md) is not right: {'; '.join(self.errors)}")


def check_card(text: str) -> CardCheck:
    """Check the YAML of a card for what the Hub refuses (errors) or does not know (warnings).

    Rules are those of the Hub's documentation and of `datasets`; ids of licences and tasks are those it had in 2026,
    codes of languages (ISO 639-1 and 639-3) and kinds of creators those of `datasets`.

    Args:
        text: of `README.md`.
    """
    try:
        data, _ = split_card(text)
    except ValueError as error:
        return CardCheck([str(error)])
    return _sorted([finding for rule in RULES for finding in rule(data)])


def check_folder(folder: Path, text: str | None = None, others: Collection[str] = ()) -> CardCheck:
    """Check the card of a folder, also against the Parquet files there, if there are any.

    Args:
        folder: of the repository.
        text: of the card; that of `README.md` if None.
        others: further files of the repository, by their paths.
    """
    text = (folder / "README.md").read_text(encoding="utf-8") if text is None else text
    card_check = check_card(text)
    if card_check.errors:
        return card_check
    data, _ = split_card(text)
    beside = _sorted([*_license_file(data, folder, others), *_data(data, folder, others)])
    return CardCheck(beside.errors, card_check.warnings + beside.warnings)


def _sorted(findings: Sequence[Finding]) -> CardCheck:
    return CardCheck(*([finding.text for finding in findings if finding.fatal is fatal] for fatal in (True, False)))


# Rules: each takes the YAML of a card.


def _keys(data: dict[str, Any]) -> Iterator[Finding]:
    for wrong, right in PLURALS.items():
        if wrong in data:
            yield Finding(f"there is no key {wrong!r}, only {right!r}")
    if not isinstance(data.get("pretty_name", ""), str):
        yield Finding(f"pretty_name must be text, not {data['pretty_name']!r}; put it in quotes")


def _kinds(data: dict[str, Any]) -> Iterator[Finding]:
    for key in (*LISTS, *TEXTS):
        value = data.get(key, [])
        if key in LISTS and not isinstance(value, list):
            yield Finding(f"{key} must be a list, not {value!r}")
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, bool):
                yield Finding(f"{key} has {entry}, which YAML makes of a plain yes, no, on or off; put it in quotes")
            elif not isinstance(entry, str) or not entry.strip():
                yield Finding(f"{key} must be text, not {entry!r}")


def _license(data: dict[str, Any]) -> Iterator[Finding]:
    license_ids = _texts(data, "license")
    for license_id in license_ids:
        if license_id not in _ids()["licenses"]:
            yield Finding(f"license {license_id!r} is no id the Hub is known to have, such as 'cc-by-4.0'; others are "
                          "'other' with license_name and license_link", fatal=False)  # fmt: skip
    name, address = data.get("license_name"), data.get("license_link")
    if "other" in license_ids:
        if not isinstance(name, str) or not name.strip():
            yield Finding("license 'other' needs a license_name")
        if not isinstance(address, str) or not (address in LICENSE_FILES or re.match(r"https?://\S+$", address)):
            yield Finding(
                f"license 'other' needs a license_link: LICENSE, LICENSE.md or a web address, not {address!r}"
            )
    elif name or address:
        yield Finding("license_name and license_link count only with license 'other'", fatal=False)


def _values(data: dict[str, Any]) -> Iterator[Finding]:
    vocabulary = {
        "task_categories": _ids()["task_categories"],
        "task_ids": _ids()["task_ids"],
        "size_categories": _resource("size_categories"),
        "annotations_creators": _resource("creators")["annotations"],
        "language": {*_resource("languages"), "multilingual"},
    }
    for key, possible in vocabulary.items():
        for value in _texts(data, key):
            if value not in possible:
                hint = "ISO 639-1 or 639-3 codes" if key == "language" else _nearest(value, possible)
                # The table has no three-letter code where there is one of two letters; the Hub may.
                fatal = not (key == "language" and re.fullmatch("[a-z]{3}", value))
                yield Finding(f"{key} {value!r} is unknown to the Hub; it knows {hint}", fatal)
    for source in _texts(data, "source_datasets"):
        if not SOURCE_DATASET.fullmatch(source):
            yield Finding(f"source_datasets {source!r} is neither 'original', 'extended|...' nor a Hub id")


def _configs(data: dict[str, Any]) -> Iterator[Finding]:
    from datasets.utils.metadata import MetadataConfigs

    try:
        MetadataConfigs.from_dataset_card_data(_card_data(data, "configs"))
        names = [config["config_name"] for config in data.get("configs") or []]
    except Exception as error:  # whatever `datasets` stumbles over
        yield Finding(f"configs cannot be read: {' '.join(str(error).split())}")
        return
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield Finding(f"configs has {twice} twice")


def _dataset_info(data: dict[str, Any]) -> Iterator[Finding]:
    try:
        infos = _infos(data)
    except Exception as error:  # whatever `datasets` stumbles over
        yield Finding(f"dataset_info cannot be read: {type(error).__name__} {' '.join(str(error).split())}")
        return
    configs = {config.get("config_name", "default") for config in data.get("configs") or [] if isinstance(config, dict)}
    if configs and (unknown := sorted(set(infos) - configs)):
        yield Finding(f"dataset_info is of {unknown}, which configs lacks")
    main = infos.get("default")
    rows = sum(split.num_examples for split in main.splits.values()) if main and main.splits else None
    sizes = _texts(data, "size_categories")
    if rows is not None and sizes and size_category(rows) not in sizes:
        yield Finding(f"size_categories is {sizes}, but dataset_info has {rows:,} rows: {size_category(rows)!r}")


RULES = (_keys, _kinds, _license, _values, _configs, _dataset_info)


# Rules that need the folder.


def _license_file(data: dict[str, Any], folder: Path, others: Collection[str]) -> Iterator[Finding]:
    name = data.get("license_link")
    if name in LICENSE_FILES and name not in others and not (folder / str(name)).exists():
        yield Finding(f"license_link is {name}, but {folder} has no such file: add it, or give a web address", False)


def _data(data: dict[str, Any], folder: Path, others: Collection[str]) -> Iterator[Finding]:
    from datasets.utils.metadata import MetadataConfigs

    if not any(folder.glob("**/*.parquet")):
        return
    infos = _infos(data)
    for name, config in MetadataConfigs.from_dataset_card_data(_card_data(data, "configs")).items():
        patterns = config.get("data_files", [])
        by_split = isinstance(patterns, list) and all(isinstance(one, dict) for one in patterns)
        for split in patterns if by_split else [{"split": "train", "path": patterns}]:
            inside = [one for one in as_list(split["path"]) if "://" not in one and not one.startswith("/")]
            paths = [path for one in inside for path in sorted(folder.glob(one))]
            if not paths and any(fnmatchcase(name, one) for one in inside for name in others):
                continue  # somebody else's
            if not paths and inside:
                yield Finding(f"config {name!r}: no file is called {split['path']}")
            elif paths and name in infos:
                yield from _split(infos[name], f"config {name!r}, split {split['split']!r}", split["split"], paths)


def _split(info: "DatasetInfo", what: str, split: str, paths: list[Path]) -> Iterator[Finding]:
    from datasets import Features

    parts = [pq.ParquetFile(path) for path in paths]
    rows = sum(part.metadata.num_rows for part in parts)
    told = info.splits[split].num_examples if info.splits and split in info.splits else None
    if told != rows:
        yield Finding(f"{what}: dataset_info has {told} rows, the data {rows}")
    for path, part in zip(paths, parts, strict=True):
        features = Features.from_arrow_schema(part.schema_arrow)
        if info.features is not None and features != info.features:
            names = [name for name in {**info.features, **features} if info.features.get(name) != features.get(name)]
            yield Finding(f"{what}: {path.name} has other features than dataset_info: {names}")


def _infos(data: dict[str, Any]) -> "DatasetInfosDict":
    from datasets.info import DatasetInfosDict

    return DatasetInfosDict.from_dataset_card_data(_card_data(data, "dataset_info"))


def _card_data(data: dict[str, Any], key: str) -> "DatasetCardData":
    from huggingface_hub import DatasetCardData

    return DatasetCardData(**{key: data[key]} if key in data else {})


def _texts(data: dict[str, Any], key: str) -> list[str]:
    return [text for text in as_list(data.get(key, [])) if isinstance(text, str)]


def _nearest(name: str, possible: Sequence[str]) -> str:
    from difflib import get_close_matches

    return ", ".join(get_close_matches(name, possible, n=3, cutoff=0.3) or list(possible)[:6])


@cache
def _ids() -> dict[str, list[str]]:
    ids: dict[str, list[str]] = json.loads((files(__package__) / "hub_ids.json").read_text(encoding="utf-8"))
    return ids


@cache
def _resource(name: str) -> Any:
    """A table of `datasets`: codes of languages, kinds of creators, size categories."""
    return json.loads((files("datasets.utils.resources") / f"{name}.json").read_text(encoding="utf-8"))
