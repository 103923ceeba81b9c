"""A GPU computes what the CPU does, in fp32 and bf16, also when its memory is short or two processes share it.

Skipped without CUDA. `GPU_TESTS_ON=cpu` runs all of it with the CPU in the GPU's place, so that nothing here is untried
where there is none; the comparison in bf16 says something there too.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from support.paths import DEMO_CLIP, ROOT

from sds_hf import ScoreTable, add_scores, score_table
from sds_hf.clip.device import current_device
from sds_hf.clip.preprocessing import resize, upload
from sds_hf.demo.dataset import demo_features, demo_rows
from sds_hf.scores.base.catalog import score_classes
from sds_hf.scores.base.score import Score

DRY = os.environ.get("GPU_TESTS_ON") == "cpu"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not DRY and not torch.cuda.is_available(), reason="needs CUDA; GPU_TESTS_ON=cpu tries it without"
    ),
    pytest.mark.skipif(not (DEMO_CLIP / "model.safetensors").exists(), reason="the demo CLIP is not trained"),
]
ROWS = 16


@dataclass(frozen=True)
class Case:
    """A score, and how far its numbers may be from those of the CPU in fp32.

    Attributes:
        make: of settings that all scores with a model take and a folder for what is fitted.
        fp32: the largest difference in fp32.
        bf16: the largest difference in bf16, about twice of what it is on a CPU.
        same: share of the rows in which columns of names and indices are the same, in fp32 and in bf16.
    """

    make: Callable[[dict, Path, Dataset], Score]
    fp32: float = 0.005
    bf16: float = 0.05
    same: tuple[float, float] = (1.0, 0.8)


def plain(name: str, **settings) -> Callable[[dict, Path, Dataset], Score]:
    return lambda shared, folder, rows: score_classes()[name](**(shared if _has_model(name) else {}), **settings)


def fitted(name: str, reference: str = "first", **settings) -> Callable[[dict, Path, Dataset], Score]:
    """Fitted to half of the rows on the CPU."""

    def make(shared: dict, folder: Path, rows: Dataset) -> Score:
        half = [rows.select(range(ROWS // 2)), rows.select(range(ROWS // 2, ROWS))]
        sets = half if reference == "both" else half[:1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ACCELERATE_USE_CPU", "true")
            return score_classes()[name].fit(*sets, folder / f"{name}.npz", **shared, **settings)

    return make


def _has_model(name: str) -> bool:
    return "model" in score_classes()[name].__dataclass_fields__


PCS = {"scales": (8, 16, 32), "orders": 2}
CASES = {
    "classes_present": Case(plain("classes_present")),
    "clip_sim": Case(plain("clip_sim")),
    "pcs": Case(plain("pcs", **PCS)),
    "asf_miou": Case(plain("asf_miou", refine="affinity"), fp32=0.02, bf16=0.25),
    "asf_miou, crf": Case(plain("asf_miou", refine="crf"), fp32=0.02, bf16=0.25),
    "asf_miou, maskclip": Case(plain("asf_miou", reference="maskclip", refine="none"), fp32=0.02, bf16=0.25),
    "asf_class_iou": Case(plain("asf_class_iou", refine="affinity"), fp32=0.03, bf16=0.65),
    "boundary": Case(plain("boundary")),
    "difficulty": Case(plain("difficulty")),
    "diversity": Case(plain("diversity")),
    "duplicates": Case(plain("duplicates", within=None)),
    "gmm_sim": Case(fitted("gmm_sim", components=4, dimensions=8), fp32=0.05, bf16=2.0),
    "leakage": Case(fitted("leakage")),
    "prompt_mismatch": Case(plain("prompt_mismatch")),
    "real_prob": Case(fitted("real_prob", "both"), bf16=0.1),
    "region_knn": Case(plain("region_knn", k=5), same=(0.9, 0.8)),
    "tfdp": Case(plain("tfdp")),
}


def test_every_score_is_compared():
    ours = {name for name, score in score_classes().items() if score.__module__.startswith("sds_hf.")}
    assert {name.split(",")[0] for name in CASES} == ours


@pytest.fixture(scope="module")
def rows() -> Dataset:
    """Scenes that the demo CLIP knows, half of them with a defect."""
    return Dataset.from_list(list(demo_rows(ROWS, seed=11)), features=demo_features())


@pytest.fixture
def on_cpu(monkeypatch):
    """Compute on the CPU until called."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    return lambda: monkeypatch.delenv("ACCELERATE_USE_CPU")


def shared(dtype: str) -> dict:
    return {"model": "demo", "dtype": dtype}


def columns(rows: Dataset, score: Score) -> dict[str, list]:
    scored = add_scores(rows, score)
    return {name: scored[name][:] for name in scored.column_names if name not in rows.column_names}


def leaves(value) -> list:
    """The numbers and names in a column, however deep."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] * (value is not None) if inside is None else [leaf for item in inside for leaf in leaves(item)]


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_the_cpu(rows, tmp_path, on_cpu, name, dtype):
    case = CASES[name]
    score = case.make(shared("fp32") if _has_model(name.split(",")[0]) else {}, tmp_path, rows)
    expected = columns(rows, score)
    (tmp_path / "other").mkdir()
    score = case.make(shared(dtype) if _has_model(name.split(",")[0]) else {}, tmp_path / "other", rows)
    on_cpu()
    assert current_device().type == ("cpu" if DRY else "cuda")
    for column, values in columns(rows, score).items():
        where = f"{name}, {column}, {dtype}"
        assert [value is None for value in values] == [value is None for value in expected[column]], where
        pairs = list(zip(leaves(values), leaves(expected[column]), strict=True))
        gaps = [abs(a - b) for a, b in pairs if isinstance(a, float)]
        same = [a == b for a, b in pairs if not isinstance(a, float)]
        if gaps:
            print(f"{where}: at most {max(gaps):.2g}, {np.mean(gaps):.2g} on average")
            assert max(gaps) <= getattr(case, dtype), where
        if same:
            print(f"{where}: {np.mean(same):.0%} are the same")
            assert np.mean(same) >= case.same[dtype == "bf16"], where


def test_bytes_are_uploaded_as_they_are_from_pinned_memory(monkeypatch):
    """Also when the next upload begins before the first has arrived; what is resized there is what Pillow makes."""
    device, pinned = current_device(), []
    if not DRY:
        pin = torch.Tensor.pin_memory
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *a: pinned.append(self.shape) or pin(self, *a))
    images = [np.random.default_rng(n).integers(0, 256, (512, 512, 3), np.uint8) for n in range(64)]
    batches = [upload(images[start : start + 16], device) for start in range(0, 64, 16)]
    assert len(pinned) == (0 if DRY else 4)
    for number, batch in enumerate(batches):
        assert batch.device.type == device.type
        np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).cpu().numpy(), np.stack(images[number * 16 :][:16]))
    small = resize(batches[0], (224, 224)).cpu().int()
    gaps = (small - resize(batches[0].cpu(), (224, 224)).int()).abs()
    assert gaps.max() <= 1
    assert (gaps > 0).float().mean() < 0.01


def test_a_batch_that_does_not_fit_into_the_gpu_is_divided(rows, monkeypatch):
    """The GPU is left hardly any memory, so that the batch is too large and a part of it is not."""
    score = score_classes()["pcs"](**shared("fp32"), **PCS)
    expected = add_scores(rows, score)["pcs"][:]
    copies, cells = 2 if DRY else 16, rows.with_format("arrow")[:].to_pylist()
    many = Dataset.from_list(
        [row | {"id": f"{copy}-{row['id']}"} for copy in range(copies) for row in cells], features=rows.features
    )
    monkeypatch.setattr("sds_hf.scores.base.rows._fitting", {})
    sizes, compute = [], type(score).compute

    def counted(self, part):
        sizes.append(len(part))
        if DRY and len(part) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return compute(self, part)

    monkeypatch.setattr(type(score), "compute", counted)
    if not DRY:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 96 * 2**20) / total)
    try:
        values = add_scores(many, score, batch_size=len(many))["pcs"][:]
    finally:
        if not DRY:
            torch.cuda.set_per_process_memory_fraction(1.0)
    assert sizes[0] == len(many)
    assert len(sizes) > 1
    assert min(sizes) < len(many)
    np.testing.assert_allclose(values, expected * copies, atol=2e-4)


def test_two_processes_share_the_gpu(rows, tmp_path):
    """Both write their shards of one table, which is that of one process."""
    rows.save_to_disk(tmp_path / "rows")
    scores = [score_classes()["pcs"](**shared("fp32"), **PCS), score_classes()["asf_miou"](**shared("fp32"))]
    one = score_table(rows, scores, tmp_path / "one", rows_per_shard=4)
    command = ["score", str(tmp_path / "rows"), "--out", str(tmp_path / "two"), "--model", "demo", "--dtype", "fp32"]
    command += ["--rows-per-shard", "4", "--set", "scores.pcs.scales=[8,16,32]", "--set", "scores.pcs.orders=2"]
    processes = []
    for rank in ("0", "1"):
        environment = os.environ | {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "sds_hf", *command], env=environment, stderr=subprocess.PIPE, text=True
            )
        )
    errors = [process.communicate(timeout=600 if DRY else 60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    two = ScoreTable.load(tmp_path / "two")
    assert two.manifest["device"] == one.manifest["device"]
    for name in ("clip_sim", "pcs", "asf_miou"):
        np.testing.assert_allclose(
            two.to_arrow()[name].to_numpy(), one.to_arrow()[name].to_numpy(), atol=1e-5, err_msg=name
        )
