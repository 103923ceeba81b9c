"""A job up to publishing, for tests of what comes then: candidates, scores, a recipe and a selection."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from datasets import Dataset, Value

from sds_hf.publishing.publish import Published, publish
from sds_hf.selection.recipe import Recipe
from sds_hf.selection.select import Selection, select
from sds_hf.table.score_table import ScoreTable, score_table
from support.rows import random_dataset

CAPTIONS = ["a | b", "`code` ``", "<b>bold</b>", "two\nlines", "漢字 🐕 ä", "# no heading", '"quoted" \\', "---"]
# What a person without sds-hf does; prints what was seen as JSON.
PLAIN = """
import hashlib, json, sys
from datasets import Image, load_dataset
name, options = sys.argv[1], json.loads(sys.argv[2])
def rows(dataset):
    dataset = dataset.cast_column("image", Image(decode=False)).cast_column("mask", Image(decode=False))
    def digest(cell): return hashlib.sha256(cell["bytes"]).hexdigest()
    return {row["id"]: [digest(row["image"]), digest(row["mask"]), row["caption"], row["classes"]] for row in dataset}
plain = load_dataset(name, split="train", **options)
streamed = load_dataset(name, split="train", streaming=True, **options)
scores = load_dataset(name, "scores", split="train", **options)
classes = plain.features["classes"]  # before `datasets` 4 a list
names = (classes[0] if isinstance(classes, list) else classes.feature).names
print(json.dumps({
    "rows": rows(plain), "streamed": rows(streamed), "names": names,
    "columns": plain.column_names, "pcs": list(plain["pcs"]), "mode": plain[0]["mask"].mode,
    "reasons": dict(zip(scores["id"], scores["reason"])), "ours": "sds_hf" in sys.modules,
}))
"""


@dataclass(frozen=True)
class Job:
    """All that `publish` takes."""

    dataset: Dataset
    table: ScoreTable
    recipe: Recipe
    selection: Selection

    def publish(self, **options) -> Published:
        return publish(self.dataset, self.selection, self.recipe, **{"scores": self.table, **options})

    def selecting(self, fraction: float) -> "Job":
        """The same with other rows kept."""
        recipe = make_recipe(fraction)
        return replace(self, recipe=recipe, selection=select(self.table, recipe))

    def expected(self) -> dict[str, list]:
        """What `PLAIN` has to see of the kept rows."""
        rows = self.dataset.select(self.selection.kept_rows()).with_format("arrow")[:].to_pylist()
        return {
            row["id"]: [*(digest(row[name]) for name in ("image", "mask")), row["caption"], row["classes"]]
            for row in rows
        }


def make_recipe(fraction: float = 0.5) -> Recipe:
    return Recipe.from_dict(
        {
            "name": "test",
            "rules": [
                {"threshold": {"column": "clip_sim", "above": "q0.2"}},
                {"top_per_group": {"column": "pcs", "by": ["num_classes_present"], "fraction": fraction}},
            ],
            "publish": {"license": "cc-by-4.0", "truth": "defect"},
        }
    )


def make_job(model: str, folder: Path) -> Job:
    """Twelve candidates with unwieldy ids and captions, half of the images as files, scored and selected."""
    from sds_hf import PCS

    rows = random_dataset().with_format("arrow")[:].to_pylist()
    for place, row in enumerate(rows):
        row |= {
            "id": f"r|{place} <{place}>",
            "caption": CAPTIONS[place % len(CAPTIONS)],
            "defect": "torn" if place % 3 else None,
        }
        if place % 2:
            (folder / row["image"]["path"]).write_bytes(row["image"]["bytes"])
            row["image"] = {"bytes": None, "path": str(folder / row["image"]["path"])}
    features = random_dataset(1).features | {"defect": Value("string")}
    dataset = Dataset.from_list(rows, features=type(random_dataset(1).features)(features))
    score = PCS(model=model, dtype="fp32", scales=(3,), orders=1)
    table = score_table(dataset, [score], folder / "scores", source=str(folder / "raw"), rows_per_shard=5)
    recipe = make_recipe()
    return Job(dataset, table, recipe, select(table, recipe))


def digest(cell: dict) -> str:
    data = cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
    return hashlib.sha256(data).hexdigest()


def load_elsewhere(name: str, home: Path, **options) -> dict:
    """Load a dataset in another process, with a cache of its own, without sds-hf."""
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, name, json.dumps(options)],
        env=os.environ | {"HF_HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def sums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def paths(folder: Path) -> list[str]:
    """Files of a folder as a repository calls them."""
    return list(sums(folder))


def files(api, name: str, revision: str = "main") -> dict[str, str]:
    """Path and content digest of what is on the Hub, without dotfiles."""
    entries = api.list_repo_tree(name, repo_type="dataset", recursive=True, revision=revision)
    return {entry.path: entry.blob_id for entry in entries if hasattr(entry, "blob_id") and entry.path[0] != "."}


def commits(api, name: str) -> int:
    """Without the first one, which is the creation."""
    return len(api.list_repo_commits(name, repo_type="dataset")) - 1


def tags(api, name: str) -> dict[str, str]:
    return {tag.name: tag.target_commit for tag in api.list_repo_refs(name, repo_type="dataset").tags}


def writes(hub) -> list[str]:
    """Requests that could change something."""
    return [entry["line"] for entry in hub.faults.log if not entry["line"].startswith(("GET", "HEAD"))]
