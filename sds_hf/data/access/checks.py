"""What is looked at before `datasets` reads a folder: whether its card, its lists or its links lead out of it."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sds_hf.data.access.origins import STATE, own_folder
from sds_hf.data.access.paths import PathError, Reach, read_file
from sds_hf.limits import read_json, read_yaml

CARDS = ("README.md", ".huggingface.yaml")  # what may name data files
BUILT = "dataset_info.json"  # of a builder, or beside STATE of `save_to_disk`
SPLITS = "dataset_dict.json"  # beside folders of `save_to_disk`
CHAIN = "::"  # between a file and the archive it is in
PATTERN = "*?["  # what `datasets` takes for one in a path


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a folder."""
    return any((folder / name).exists() for name in (STATE, SPLITS))


def check_saved(folder: Path) -> None:
    """Refuse a folder of `save_to_disk` that names Arrow files or splits outside of it.

    Raises:
        PathError: names the file.
        ValueError: if what names them is damaged.
    """
    check_unchained(folder)
    reach, split_list = Reach((own_folder(folder),)), folder / SPLITS
    splits = _members(split_list, "splits", str) if os.path.lexists(split_list) else []
    for inner in [folder, *(folder / split for split in splits)]:
        reach.check(inner)
        state = inner / STATE
        files = _members(state, "_data_files", dict) if os.path.lexists(state) else []
        for path in (state, inner / BUILT, *(inner / str(file.get("filename")) for file in files)):
            reach.check(path)


def _members(path: Path, name: str, kind: type) -> list[Any]:
    """What is in a list in a JSON file, all of a kind."""
    value = read_json(read_file(path), str(path))
    members = value.get(name) if isinstance(value, dict) else None
    if not isinstance(members, list) or not all(isinstance(member, kind) for member in members):
        raise ValueError(f"{path} has no list {name!r} as `save_to_disk` writes it: get the folder again")
    return members


def folder_builder(folder: Path, config: str | None = None) -> Any:
    """What reads a folder as `load_dataset` does, if its card names no data files outside of it.

    Raises:
        PathError: if it does; names the file.
    """
    from datasets import load_dataset_builder

    check_plain(folder)
    for name in CARDS:
        if os.path.lexists(folder / name):
            check_card(read_file(folder / name).decode("utf-8", "replace"), str(folder / name), Path(folder))
    builder = load_dataset_builder(str(folder.absolute()), config)
    check_data_files(folder, data_files_of(builder))
    return builder


def check_plain(path: str | Path) -> None:
    """Refuse a path that `datasets` would take for a pattern, and read others than the one that is meant.

    Raises:
        PathError: names the character.
    """
    check_unchained(path)
    if taken := [character for character in PATTERN if character in os.path.realpath(path)]:
        raise PathError(
            f"{path} has {taken[0]!r} in its path, which `datasets` takes for a pattern, so it might read others: give "
            "the folder another name"
        )


def check_unchained(path: str | Path) -> None:
    """Refuse a path that `datasets` would take for a file inside of another.

    Raises:
        PathError: says so.
    """
    if CHAIN in os.path.realpath(path):
        raise PathError(
            f"{path} has {CHAIN!r} in its path, by which `datasets` names files inside of archives, so it opens "
            "nothing there: give the folder another name"
        )


def check_data_files(folder: Path, files: Iterable[str]) -> None:
    """Refuse data files of a folder that lie elsewhere, where a link leads, or are none.

    Raises:
        PathError: names the file.
    """
    reach = Reach((own_folder(folder),))
    for file in files:
        reach.check_data_file(file)


def data_files_of(builder: Any) -> list[str]:
    """The data files that a builder of `datasets` reads."""
    return [str(file) for files in (builder.config.data_files or {}).values() for file in files]


def check_card(text: str, name: str, folder: Path | None = None) -> None:
    """Refuse a card whose configurations name data files outside of its own folder or repository.

    It is done before `datasets` sees the card, since that asks for every address in it.

    Args:
        text: a card with YAML between two lines `---`, or YAML alone.
        name: what to call it in errors.
        folder: that it lies in, if it is one of this machine.

    Raises:
        PathError: names the file.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK  # what `datasets` takes for the front, to the last blank

    front = REGEX_YAML_BLOCK.search(text)
    data = read_yaml(text if name.endswith(CARDS[1]) else front[2] if front else "", name)
    configs = data.get("configs") if isinstance(data, dict) else None
    reach = Reach((own_folder(folder),) if folder else ())
    for pattern in _texts(configs):
        if "://" in pattern or "::" in pattern or ".." in re.split(r"[/\\]", pattern) or _is_absolute(pattern):
            reach.check_data_file(pattern)


def _is_absolute(pattern: str) -> bool:
    return os.path.isabs(pattern) or pattern.startswith(("~", "\\")) or bool(re.match(r"[A-Za-z]:", pattern))


def _texts(configs: Any) -> Iterator[str]:
    """The patterns that configurations name."""
    waiting = [
        config.get(key)
        for config in (configs if isinstance(configs, list) else ())
        for key in ("data_files", "data_dir")
        if isinstance(config, dict)
    ]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list)):
            waiting += value.values() if isinstance(value, dict) else value
