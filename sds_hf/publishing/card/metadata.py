"""The YAML of a card that others wrote into too: what they added stays when a new version is written."""

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

# Keys that follow from the recipe and the data.
OURS = {
    *("pretty_name", "language", "license", "license_name", "license_link", "task_categories", "task_ids"),
    *("annotations_creators", "size_categories", "tags", "dataset_info", "configs"),
}
SETS = ("language", "task_categories", "task_ids", "annotations_creators", "tags")  # whose values stand side by side
SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
DEFAULT = "default"

Yaml = Mapping[str, Any]


def size_category(rows: int) -> str:
    """As the Hub names it: n<1K, 1K<n<10K and so on to n>1T."""
    index = max(0, len(str(rows)) - 3)
    if index >= len(SIZES):
        return "n>1T"
    return f"{SIZES[index - 1]}<n<{SIZES[index]}" if index else "n<1K"


def with_others(new: Yaml, last: Yaml, ours: Yaml, others: Collection[str] | None) -> dict[str, Any]:
    """The YAML of a new card with what others added to that of the last one: keys, tags, configurations, splits.

    What sds-hf wrote into the last one is the new version's; where both have a value, the new one stands.

    Args:
        new: as sds-hf writes it now.
        last: as it is.
        ours: as sds-hf wrote it.
        others: files of the repository that stay although sds-hf did not write them; None if they are not known.

    Raises:
        ValueError: if a split that others added to our configuration has other columns than the new version.
    """
    merged = {**new}
    for key, value in last.items():
        if key in SETS:
            added = [one for one in as_list(value) if one not in (*as_list(ours.get(key)), *as_list(new.get(key)))]
            merged |= {key: [*as_list(new.get(key)), *added]} if added else {}
        elif key not in new and value != ours.get(key):
            merged[key] = value
    if "configs" in new and "dataset_info" in new:
        configs = _configs(new["configs"], last.get("configs"), ours.get("configs"), others)
        infos = _infos(new.get("dataset_info"), last.get("dataset_info"), ours.get("dataset_info"), configs)
        merged |= {"configs": configs, "dataset_info": infos}
        rows = [split["num_examples"] for split in _by(as_list(infos), "config_name")[DEFAULT].get("splits", [])]
        merged["size_categories"] = [size_category(sum(rows))] if len(rows) > 1 else new.get("size_categories")
    return {key: value for key, value in merged.items() if value is not None}


def as_list(value: Any) -> list[Any]:
    """A value of YAML that may be one or several."""
    return [] if value is None else value if isinstance(value, list) else [value]


def _configs(new: Any, last: Any, ours: Any, others: Collection[str] | None) -> list[dict[str, Any]]:
    """Our configurations with the splits that others added, and theirs; without those whose files are gone."""
    there, written, merged = _by(as_list(last), "config_name"), _by(as_list(ours), "config_name"), []
    for name, config in _by(as_list(new), "config_name").items():
        own_splits = {split for source in (config, written.get(name, {})) for split in _splits(source)}
        added = {split: paths for split, paths in _splits(there.get(name, {})).items() if split not in own_splits}
        added = {split: paths for split, paths in added.items() if _are_there(paths, others)}
        files = {**_splits(config), **added} if added else {}
        told = [{"split": split, "path": paths} for split, paths in files.items()]
        rest = {key: value for key, value in there.get(name, {}).items() if key not in written.get(name, {})}
        merged.append({**rest, **config, **({"data_files": told} if told else {})})
    own_names = {*written, *_by(merged, "config_name")}
    theirs = [config for name, config in there.items() if name not in own_names]
    return [*merged, *(config for config in theirs if all(_are_there(p, others) for p in _splits(config).values()))]


def _infos(new: Any, last: Any, ours: Any, configs: Iterable[Yaml]) -> Any:
    """`dataset_info` of the configurations: ours with the splits that others added to it, and theirs."""
    names = {config.get("config_name", DEFAULT) for config in configs}
    splits = {split for config in configs if config.get("config_name") == DEFAULT for split in _splits(config)}
    there, merged = _by(as_list(last), "config_name"), _by(as_list(new), "config_name")
    info, old, written = merged[DEFAULT], there.get(DEFAULT, {}), _by(as_list(ours), "config_name").get(DEFAULT, {})
    own_splits = {**_by(written.get("splits", []), "name"), **_by(info.get("splits", []), "name")}
    added = [split for split in old.get("splits", []) if split["name"] not in own_splits and split["name"] in splits]
    if added:
        if _features(old) != _features(info):
            raise ValueError(
                f"the split {added[0]['name']!r}, which others added, has other columns than the new version, so that "
                "neither could be loaded: move it into a configuration of its own, or delete it"
            )
        sizes = {key: info[key] + max(0, old.get(key, 0) - written.get(key, 0)) for key in ("download_size",)}
        sizes["dataset_size"] = info["dataset_size"] + sum(split.get("num_bytes", 0) for split in added)
        merged[DEFAULT] = {**info, "splits": [*info["splits"], *added], **sizes}
    theirs = {name: info for name, info in there.items() if name not in merged and name in names}
    if not theirs:
        return merged[DEFAULT]
    return [{"config_name": name, **info} for name, info in {**merged, **theirs}.items()]


def _features(info: Yaml) -> Any:
    from datasets import Features

    return Features._from_yaml_list(info.get("features", []))


def _splits(config: Yaml) -> dict[str, list[str]]:
    """Patterns of the data files of a configuration by split."""
    files = config.get("data_files")
    if isinstance(files, list) and all(isinstance(one, dict) for one in files):
        return {str(one.get("split")): as_list(one.get("path")) for one in files}
    return {} if files is None else {"train": as_list(files)}


def _are_there(patterns: Iterable[str], names: Collection[str] | None) -> bool:
    """Whether files that somebody else's configuration names are there; addresses are not looked up."""
    return names is None or all(
        "://" in pattern or any(fnmatchcase(name, pattern) for name in names) for pattern in patterns
    )


def _by(entries: Iterable[Any], key: str) -> dict[str, dict[str, Any]]:
    """Mappings by one of their values; whatever else stands in somebody's YAML is none."""
    return {str(entry.get(key, DEFAULT)): dict(entry) for entry in entries if isinstance(entry, dict)}
