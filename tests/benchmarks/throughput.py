"""Rows a second and memory of each phase that no encoder takes part in, beside what plain `datasets` needs.

python tests/benchmarks/throughput.py 10000 > tests/benchmarks/throughput.json

Pairs of 512x512, JPEG and index PNG, about 120 kB each, are drawn into a folder in /tmp that goes in the end. Each
phase is a process of its own, start-up included; sds-hf is compiled before, as pip does on installing it. Plain
`datasets` reads the same files as an `imagefolder`, embeds them as `push_to_hub` does and writes them as Parquet
(beside `import`); reads that Parquet (beside `open` and `verify`); and reads it, selects the same number of rows and
writes them (beside `publish`). Memory is that of the process and its children that no file backs, looked at 50 times a
second; processor seconds are of both.
"""

import argparse
import compileall
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE, CLASSES = 512, 20
RECIPE = """
name: throughput
rules:
  - random: {{target: {kept}}}
publish: {{license: mit}}
"""
KEPT = 0.9  # of the rows


# Pairs


def draw(folder: Path, rows: int) -> None:
    """Pairs as a raw folder, with the table by which `imagefolder` reads both of a pair."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(draw_pair, [folder] * rows, range(rows), chunksize=100))
    lines = [f"images/{index:06d}.jpg,masks/{index:06d}.png" for index in range(rows)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,mask_file_name", *lines]) + "\n", encoding="utf-8")


def draw_pair(folder: Path, index: int) -> None:
    """Smooth colours under grain, and one to four ellipses of classes."""
    generator = np.random.default_rng(index)
    colors = generator.integers(0, 256, (24, 24, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(colors).resize((SIDE, SIDE), Image.Resampling.BILINEAR)).astype(np.int16)
    grain = generator.integers(-14, 15, (SIDE, SIDE, 1), np.int16)
    picture = Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))
    picture.save(folder / "images" / f"{index:06d}.jpg", quality=92)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    for class_id in generator.integers(1, CLASSES + 1, generator.integers(1, 5)):
        center, radii = generator.integers(100, 412, 2), generator.integers(30, 140, 2)
        mask[((y - center[0]) / radii[0]) ** 2 + ((x - center[1]) / radii[1]) ** 2 < 1] = class_id
    Image.fromarray(mask).save(folder / "masks" / f"{index:06d}.png")


# Phases, each in a process of its own


def plain_import(work: Path) -> None:
    from datasets import load_dataset
    from datasets.table import embed_table_storage

    dataset = load_dataset("imagefolder", data_dir=str(work / "raw"), split="train")
    embedded = dataset.with_format("arrow").map(embed_table_storage, batched=True, batch_size=100)
    embedded.to_parquet(work / "plain" / "train.parquet")


def plain_open(work: Path) -> None:
    from datasets import load_dataset

    load_dataset("parquet", data_files=str(work / "source" / "data" / "*.parquet"), split="train")


def plain_copy(work: Path) -> None:
    from datasets import load_dataset

    dataset = load_dataset("parquet", data_files=str(work / "source" / "data" / "*.parquet"), split="train")
    rows = np.random.default_rng(0).choice(len(dataset), int(KEPT * len(dataset)), replace=False)
    dataset.select(np.sort(rows)).to_parquet(work / "copy" / "train.parquet")


def open_source(work: Path) -> None:
    from sds_hf.data.opening import open_dataset

    open_dataset(work / "source")


def digest(work: Path) -> None:
    from sds_hf.data.content import content_digest
    from sds_hf.data.opening import open_dataset

    content_digest(open_dataset(work / "source"))


def sds_hf(*words: str) -> Callable[[Path], None]:
    """A command as typed; in its words WORK is the folder."""

    def command(work: Path) -> None:
        from sds_hf.cli import main

        code = main([word.replace("WORK", str(work)) for word in words])
        if code:
            raise SystemExit(code)

    return command


SCORE = ("score", "WORK/source", "--quiet", "--scores")
PHASES: dict[str, Callable[[Path], None]] = {
    "plain import": plain_import,
    "import": sds_hf("import", "folder", "WORK/raw", "--out", "WORK/source", "--labels", "voc", "--json"),
    "plain open": plain_open,
    "open": open_source,
    "digest": digest,
    "score classes_present": sds_hf(*SCORE, "classes_present", "--out", "WORK/classes"),
    "score boundary": sds_hf(*SCORE, "boundary", "--out", "WORK/scores"),
    "select": sds_hf("select", "WORK/scores", "--recipe", "WORK/recipe.yaml", "--out", "WORK/selection", "--json"),
    "plain copy": plain_copy,
    "publish": sds_hf(
        "publish", "WORK/source", "WORK/selection", "--scores", "WORK/scores", "--folder", "WORK/published", "--json"
    ),
    "verify": sds_hf("verify", "WORK/published", "--json"),
}
BESIDE = {"import": "plain import", "open": "plain open", "publish": "plain copy", "verify": "plain open"}


# Measuring


def compile_package() -> None:
    """Write the bytecode of sds-hf; where PYTHONDONTWRITEBYTECODE is set, each phase would compile a checkout anew."""
    import sds_hf

    compileall.compile_dir(Path(sds_hf.__file__).parent, quiet=1)


def memory(pid: int) -> int:
    """Memory of a process and of those that it started, without pages of files, in bytes; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        return 0
    own = sum(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(("RssAnon", "RssShmem")))
    return own + sum(memory(int(child)) for child in children)


def processor_seconds() -> float:
    """Seconds that the processors worked for processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def measure(phase: str, work: Path, rows: int) -> dict[str, Any]:
    """Run a phase, and say what it took."""
    caches = {"HF_DATASETS_CACHE": str(work / "cache" / phase.partition(" ")[0]), "XDG_CACHE_HOME": str(work / "own")}
    if not phase.startswith("plain"):
        caches["HF_DATASETS_CACHE"] = str(work / "cache" / "sds-hf")
    environment = os.environ | caches | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, __file__, "--phase", phase, str(work)]
    peak, worked, started = 0, processor_seconds(), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.02)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{phase} ended with {process.returncode}")
    worked = processor_seconds() - worked
    return {
        "phase": phase,
        "seconds": round(seconds, 2),
        "rows_per_s": round(rows / seconds, 1),
        "processor_s": round(worked, 2),
        "cores": round(worked / seconds, 2),
        "memory_mb": peak >> 20,
    }


def main() -> None:
    """All phases for each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="*", default=[10_000])
    parser.add_argument("--phase", nargs=2)
    parser.add_argument("--only", help="phases, with commas between them; those before must have run")
    parser.add_argument("--keep", type=Path, help="a folder that stays")
    asked = parser.parse_args()
    if asked.phase:
        return PHASES[asked.phase[0]](Path(asked.phase[1]))
    compile_package()
    results = [
        measure_all(rows, asked.keep, asked.only.split(",") if asked.only else list(PHASES)) for rows in asked.rows
    ]
    print(json.dumps(results, indent=2))
    return None


def measure_all(rows: int, keep: Path | None, phases: list[str]) -> dict[str, Any]:
    """The phases for so many rows, and how many times what plain `datasets` takes some of them take."""
    with tempfile.TemporaryDirectory(prefix="sds-hf-benchmark-") as name:
        work = keep or Path(name)
        if not (work / "raw").exists():
            draw(work / "raw", rows)
        (work / "recipe.yaml").write_text(RECIPE.format(kept=int(KEPT * rows)), encoding="utf-8")
        found = []
        for phase in phases:
            found.append(measure(phase, work, rows))
            print(json.dumps(found[-1]), file=sys.stderr, flush=True)
        size = sum(file.stat().st_size for file in (work / "raw").rglob("*.*"))
    seconds = {one["phase"]: one["seconds"] for one in found}
    times = {
        phase: round(seconds[phase] / seconds[plain], 2)
        for phase, plain in BESIDE.items()
        if {phase, plain} <= set(seconds)
    }
    return {"rows": rows, "raw_mb": size >> 20, "phases": found, "times_plain": times}


if __name__ == "__main__":
    main()
