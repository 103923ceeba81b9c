"""One JSON of the parts that gpu.sh ran, with the targets beside the figures.

python tests/benchmarks/gpu_summary.py PARTS > gpu.json
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAMES = ("machine", "tests", "fused", "crf_boundary", "authors", "plain_loop", "end_to_end", "training")
# What is to be reached, and where the figure is. The authors' code ran on 2 CPU cores, see authors_mode.py.
TARGETS = {
    "encoder_share_of_matmul_rate": (0.5, ("fused", "encoder", "share")),
    "pcs_rows_per_second_from_bytes": (800, ("end_to_end", "jobs", "pcs", "rows_per_second")),
    "times_the_authors_code_one_class": (20, ("authors", "times_faster_1_classes")),
    "times_the_authors_code_three_classes": (20, ("authors", "times_faster_3_classes")),
}
BENCHES = ("fused", "crf_boundary")  # answers of `sds-hf bench --json`
READABLE = ("tests", "training")  # parts that print text for people


def summary(folder: Path) -> dict[str, Any]:
    """Parts by name, None where one failed or did not run, and the targets."""
    parts = {name: _part(folder, name) for name in NAMES}
    targets = {}
    for name, (target, path) in TARGETS.items():
        figure = _at(parts, path)
        targets[name] = {"target": target, "figure": figure, "reached": None if figure is None else figure >= target}
    return {"targets": targets, "runs": {name: _run(folder, name) for name in NAMES}, **parts}


def _part(folder: Path, name: str) -> Any:
    run = _run(folder, name)
    if run is None:
        return None
    text = (folder / f"{name}.out").read_text(encoding="utf-8", errors="replace")
    if name in READABLE:
        return text.strip().splitlines()
    if run["exit"] != 0:
        return None
    figures = json.loads(text)
    return figures["result"] if name in BENCHES else figures


def _run(folder: Path, name: str) -> dict[str, int] | None:
    """Exit code (124: out of time) and seconds of a part; None if it did not run."""
    path = folder / f"{name}.exit"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _at(parts: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    value: Any = parts
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def machine() -> dict[str, Any]:
    """What it runs on."""
    import platform

    import torch

    from sds_hf.clip.device import current_device
    from sds_hf.table.manifest import versions

    device = current_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": device.type, "name": name, "cuda": torch.version.cuda, "versions": versions()}


if __name__ == "__main__":
    print(json.dumps(machine() if sys.argv[1] == "--machine" else summary(Path(sys.argv[1])), indent=2))
