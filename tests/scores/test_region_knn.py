"""Regions and their nearest regions: a plain reference, exact neighbours whatever the blocks, and what a file keeps."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset, load_from_disk
from hypothesis import given
from hypothesis import strategies as st
from support.models import make_clip
from support.rows import random_row

from sds_hf import add_scores, score_table
from sds_hf.clip.encoder import load
from sds_hf.data.folder import row_features
from sds_hf.data.images import decode_image, encode_jpeg, encode_mask
from sds_hf.data.labels import VOC
from sds_hf.files import cache_folder
from sds_hf.scores.clip_sim import ClipSim
from sds_hf.scores.functional import votes
from sds_hf.scores.functional.regions import mean_features, patch_shares, seen_labels
from sds_hf.scores.functional.votes import Points, agreement, nearest_others, whole_numbers
from sds_hf.scores.region_knn import RegionKNN, _memory

CPU = torch.device("cpu")
NAMES = ("region_knn", "region_knn_class")


def unit_vectors(count: int, dimensions: int = 12, seed: int = 0) -> np.ndarray:
    return F.normalize(torch.from_numpy(np.random.default_rng(seed).normal(size=(count, dimensions))), dim=-1).numpy()


def plain_neighbors(queries, groups, vectors, point_groups, k) -> list[list[int]]:
    """One pair at a time in Python's whole numbers."""
    rows = []
    for query, group in zip(queries.tolist(), groups.tolist(), strict=True):
        products = [
            (-sum(a * b for a, b in zip(query, point, strict=True)), index)
            for index, (point, other) in enumerate(zip(vectors.tolist(), point_groups.tolist(), strict=True))
            if other != group
        ]
        indices = [index for _, index in sorted(products)[:k]]
        rows.append(indices + [-1] * (k - len(indices)))
    return rows


# Neighbours


@given(
    count=st.integers(0, 40), queries=st.integers(0, 6), k=st.integers(1, 12), block=st.integers(1, 17),
    levels=st.integers(1, 4), seed=st.integers(0, 99),
)  # fmt: skip
def test_neighbors_are_the_plain_ones_whatever_the_blocks(count, queries, k, block, levels, seed):
    """Vectors of few levels are often equally close: the earlier point comes first."""
    rng = np.random.default_rng(seed)
    vectors, asked = (rng.integers(-levels, levels + 1, (n, 3)).astype(np.int16) * 100 for n in (count, queries))
    point_groups, groups = np.sort(rng.integers(0, 9, count)), rng.integers(0, 12, queries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(votes, "BLOCK", block)
        patch.setattr(votes, "QUERIES", 4)
        found = nearest_others(asked, groups, Points(vectors, point_groups), k)
    assert found.tolist() == plain_neighbors(asked, groups, vectors, point_groups, k)


def test_sums_are_exact_in_float32():
    """Even where all products of a sum have one sign, in as many dimensions as models have."""
    for dimensions in (2, 512, 4096):
        flat = whole_numbers(np.full((1, dimensions), dimensions**-0.5))
        pointed = whole_numbers(np.eye(1, dimensions))
        for vector in (flat, pointed):
            exact = int((vector.astype(np.int64) ** 2).sum())
            assert exact < 2**24
            assert (torch.from_numpy(vector).float() @ torch.from_numpy(vector).float().T).item() == exact
    vectors = unit_vectors(200, 512)
    moved = whole_numbers(vectors).astype(float) / votes.LENGTH
    assert np.abs(moved @ moved.T - vectors @ vectors.T).max() < 1e-3


def test_agreement_counts_neighbours_that_are_there():
    labels, neighbors = np.array([1, 1, 2]), np.array([[3, 4, -1], [-1, -1, -1], [0, 1, 2]])
    neighbor_labels = np.array([[1, 5, 1], [1, 1, 1], [2, 2, 2]])
    assert agreement(labels, neighbor_labels, neighbors).tolist() == pytest.approx([0.5, np.nan, 1.0], nan_ok=True)


# What is seen of a region


@pytest.mark.parametrize(
    ("shape", "resized", "corner", "size"),
    [((6, 6), (6, 6), (0, 0), (6, 6)), ((4, 8), (6, 12), (0, 3), (6, 6)), ((5, 5), (3, 3), (-2, -1), (6, 6))],
)
def test_labels_in_the_frame_are_those_of_the_nearest_pixels(shape, resized, corner, size):
    mask = np.random.default_rng(0).integers(0, 5, shape).astype(np.uint8)
    expected = np.full(size, 255)
    for y in range(size[0]):
        for x in range(size[1]):
            at = [(c + i + 0.5) * n / r for c, i, n, r in zip(corner, (y, x), shape, resized, strict=True)]
            if all(0 <= a < n for a, n in zip(at, shape, strict=True)):
                expected[y, x] = mask[int(at[0]), int(at[1])]
    np.testing.assert_array_equal(seen_labels(mask, resized, corner, size), expected)


def test_shares_and_means():
    labels = np.array([[1, 1, 2, 2, 9], [1, 0, 2, 2, 9], [255, 0, 0, 0, 9], [0, 0, 0, 1, 9]])
    shares = patch_shares(labels, [1, 2, 3], 2)
    assert shares.tolist() == [[0.75, 0, 0, 0.25], [0, 1, 0, 0], [0, 0, 0, 0]]
    tokens = torch.tensor([[2.0, 0], [0, 5], [1, 1], [0, 3]])
    means = mean_features(tokens, shares)
    assert means[0] == pytest.approx(np.array([3, 1]) / 10**0.5, abs=1e-6)
    assert means[1] == pytest.approx([0, 1], abs=1e-6)
    assert np.isnan(means[2]).all()
    assert patch_shares(labels, [], 2).shape == (0, 4)


# The score


def picture(index: int, mask: np.ndarray, height: int = 48, width: int = 48) -> dict:
    """A row of noise with a given mask."""
    image = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
    return random_row(0) | {
        "id": f"row{index:03d}",
        "image": {"bytes": encode_jpeg(image), "path": None},
        "mask": {"bytes": encode_mask(mask.astype(np.uint8)), "path": None},
    }


def dataset_of(rows: list[dict]) -> Dataset:
    return Dataset.from_list(rows, features=row_features(VOC))


@pytest.fixture(scope="module")
def varied() -> Dataset:
    """Rows of one to three of four classes, one without any, one all ignored, of several sizes."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(18):
        height, width = [(48, 48), (40, 64), (90, 50)][index % 3]
        bands = rng.choice([0, 3, 7, 9, 12, 255], 4)
        rows.append(picture(index, bands[np.arange(width) * 4 // width][None].repeat(height, 0), height, width))
    rows.append(picture(90, np.zeros((48, 48))))
    rows.append(picture(91, np.full((48, 48), 255)))
    return dataset_of(rows)


def plain_score(data: Dataset, model: str, k: int) -> list[dict[int, float]]:
    """Region by region with plain loops, by `transformers`' own tokens before the last block."""
    encoder = load(model, CPU, torch.float32)
    regions = []
    for row, cell in enumerate(data.with_format("arrow")[:]["image"].to_pylist()):
        image = decode_image(cell)
        mask = np.asarray(data[row]["mask"])
        pixels = encoder.preprocess([image])
        with torch.inference_mode():
            hidden, _ = encoder.vit.before_last(pixels)
            tokens = encoder.vit.project(encoder.vit.blocks[-1].to_itself(hidden)[:, 1:])[0]
        tokens = F.normalize(tokens, dim=-1).numpy()
        (high, wide), (top, left) = encoder.preprocessing.frame(mask.shape)
        for class_id in sorted(set(np.unique(mask).tolist()) - {0, 255}):
            total = np.zeros(tokens.shape[1])
            for patch in range(len(tokens)):
                y0, x0 = patch // 6 * 8, patch % 6 * 8
                inside = sum(
                    mask[int((top + y + 0.5) * mask.shape[0] / high), int((left + x + 0.5) * mask.shape[1] / wide)]
                    == class_id
                    for y in range(y0, y0 + 8)
                    for x in range(x0, x0 + 8)
                )
                total += inside / 64 * tokens[patch]
            if total.any():
                regions.append((row, class_id, total / np.linalg.norm(total)))
    found: list[dict[int, float]] = [{} for _ in range(len(data))]
    for row, class_id, vector in regions:
        others = sorted(((float(vector @ w), c) for r, c, w in regions if r != row), reverse=True)[:k]
        found[row][class_id] = sum(c == class_id for _, c in others) / len(others)
    return found


def test_the_score_is_the_plain_one(varied, tiny_clip):
    scored = add_scores(varied, RegionKNN(model=tiny_clip, dtype="fp32", k=5))
    expected = plain_score(varied, tiny_clip, 5)
    assert sum(len(row) > 1 for row in expected) > 5
    for row, shares in enumerate(expected):
        by_class = {part["class_id"]: part["region_knn"] for part in scored["region_knn_class"][row]}
        assert list(by_class) == sorted(set(np.unique(np.asarray(varied[row]["mask"])).tolist()) - {0, 255})
        assert {c: v for c, v in by_class.items() if v is not None} == pytest.approx(shares, abs=1e-6)
        assert scored["region_knn"][row] == (pytest.approx(min(shares.values())) if shares else None)


def test_rows_without_regions_have_none(varied, tiny_clip):
    scored = add_scores(varied, RegionKNN(model=tiny_clip, dtype="fp32"))
    assert scored["region_knn"][18:] == [None, None]
    assert scored["region_knn_class"][18:] == [[], []]


def test_a_set_without_any_region(tiny_clip):
    data = dataset_of([picture(index, np.zeros((48, 48))) for index in range(2)])
    scored = add_scores(data, RegionKNN(model=tiny_clip, dtype="fp32"))
    assert scored["region_knn"][:] == [None, None]
    assert scored["region_knn_class"][:] == [[], []]


def test_what_lies_outside_the_crop_has_no_score(tiny_clip):
    mask = np.zeros((48, 144))
    mask[:, :20], mask[:, 60:80] = 3, 7
    data = dataset_of([picture(index, mask, 48, 144) for index in range(3)])
    scored = add_scores(data, RegionKNN(model=tiny_clip, dtype="fp32"))
    assert scored["region_knn_class"][0] == [
        {"class_id": 3, "region_knn": None},
        {"class_id": 7, "region_knn": 1.0},
    ]
    whole = add_scores(data, RegionKNN(model=tiny_clip, dtype="fp32", resolution=48))
    assert all(part["region_knn"] is not None for part in whole["region_knn_class"][0])


def test_neither_a_row_nor_a_copy_of_its_picture_counts(tiny_clip):
    """Two copies with the same wrong class do not confirm each other."""
    right, wrong = np.full((48, 48), 3), np.full((48, 48), 9)
    rows = [picture(index, right) for index in range(4)]
    rows += [picture(7, wrong), picture(7, wrong) | {"id": "copy"}, picture(7, right) | {"id": "other mask"}]
    scored = add_scores(dataset_of(rows), RegionKNN(model=tiny_clip, dtype="fp32", k=50))
    assert scored["region_knn"][4:] == [0.0, 0.0, 1.0]
    assert scored["region_knn"][0] == pytest.approx(4 / 6)
    alone = add_scores(dataset_of(rows[4:]), RegionKNN(model=tiny_clip, dtype="fp32"))
    assert alone["region_knn"][:] == [None, None, None]
    assert alone["region_knn_class"][0] == [{"class_id": 9, "region_knn": None}]


def test_the_order_of_rows_and_batches_changes_nothing(varied, tiny_clip):
    score = RegionKNN(model=tiny_clip, dtype="fp32", k=4)
    there, back = score.fit(varied), score.fit(varied.select(range(len(varied))[::-1]))
    assert there.statistics["regions"] == back.statistics["regions"]
    once = add_scores(varied, there)
    for batch_size in (1, 7):
        assert [add_scores(varied, there, batch_size=batch_size)[name][:] for name in NAMES] == [
            once[name][:] for name in NAMES
        ]
    backwards = add_scores(varied.select(range(len(varied))[::-1]), back)
    assert [backwards[name][::-1] for name in NAMES] == [once[name][:] for name in NAMES]


def test_rows_of_the_set_need_no_second_pass_and_others_are_compared_with_it(varied, tiny_clip, monkeypatch):
    fitted = RegionKNN(model=tiny_clip, dtype="fp32", k=3).fit(varied.select(range(12)))
    passes = []
    regions = RegionKNN._regions
    monkeypatch.setattr(RegionKNN, "_regions", lambda *args: (passes.append(args[2]), regions(*args))[1])
    add_scores(varied.select(range(12)), fitted)
    assert passes == []
    new = add_scores(varied.select(range(10, 18)), fitted)
    assert [row for part in passes for row in part] == [2, 3, 4, 5, 6, 7]
    assert all(value is not None for value in new["region_knn"])


def test_another_k_reads_the_set_no_second_time(varied, tiny_clip, tmp_path, monkeypatch):
    varied.save_to_disk(tmp_path)
    data = load_from_disk(tmp_path)
    statistics = RegionKNN(model=tiny_clip, dtype="fp32", k=3).fit(data).statistics
    monkeypatch.setattr(RegionKNN, "collect", lambda *args: pytest.fail("read again"))
    assert RegionKNN(model=tiny_clip, dtype="fp32", k=5).fit(data).statistics == statistics


def test_the_pass_serves_clip_sim_too(varied, tiny_clip):
    fitted = RegionKNN(model=tiny_clip, dtype="fp32").fit(varied.select(range(4)))
    together = add_scores(varied, fitted, ClipSim(model=tiny_clip, dtype="fp32"))
    alone = add_scores(varied, ClipSim(model=tiny_clip, dtype="fp32"))
    np.testing.assert_allclose(
        np.array(together["clip_sim"], float), np.array(alone["clip_sim"], float), atol=5e-6, equal_nan=True
    )


def test_what_was_fitted_otherwise_is_refused(varied, tiny_clip, tmp_path):
    other = make_clip(tmp_path / "other", seed=5)
    fitted = RegionKNN(model=tiny_clip, dtype="fp32").fit(varied)
    for change, message in (
        ({"model": str(other)}, "fitted with another model_digest than"),
        ({"resolution": 96}, "fitted with another resolution than 96: fit again"),
        ({"search": "faiss"}, "fitted with search='exact', which makes no index: fit again"),
    ):
        with pytest.raises(ValueError, match=message):
            add_scores(varied, RegionKNN(**{**fitted.values(), **change}))
    with pytest.raises(ValueError, match=r"region_knn needs statistics of the whole set"):
        varied.map(RegionKNN(model=tiny_clip), batched=True)
    (cache_folder("models") / f"{fitted.statistics['sha256']}.npy").unlink()
    _memory.cache_clear()
    with pytest.raises(ValueError, match=r"the regions of the set are no longer in .* score again"):
        add_scores(varied.select(range(3)), fitted)


def test_a_table_says_what_it_was_fitted_to(varied, tiny_clip, tmp_path):
    table = score_table(varied, [RegionKNN(model=tiny_clip, dtype="fp32", k=3)], tmp_path, rows_per_shard=6)
    identity = next(one for one in table.manifest["scores"] if one["score"] == "region_knn")
    assert set(identity["statistics"]) == {"sha256", "regions", "model_digest", "resolution"}
    expected = add_scores(varied, RegionKNN(model=tiny_clip, dtype="fp32", k=3))
    stored = table.to_arrow()
    assert [stored[name].to_pylist() for name in NAMES] == [expected[name][:] for name in NAMES]


# The approximate index


def clustered(count: int, dimensions: int = 32, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = unit_vectors(40, dimensions, seed)
    vectors = centres[rng.integers(0, 40, count)] + rng.normal(0, 0.1, (count, dimensions))
    return whole_numbers(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


class CloseCells:
    """An index like that of faiss that finds every second point only, and none for some queries."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors.astype(float) / votes.LENGTH

    def search(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        products = queries @ self.vectors.T
        products[:, 1::2] = -np.inf
        order = np.argsort(-products, 1)[:, :count]
        order[products[:, 0] > 0.1] = -1
        return np.take_along_axis(products, order, 1), order


def test_what_an_index_finds_is_ordered_exactly_and_what_it_misses_is_searched():
    vectors, groups = clustered(400), np.repeat(np.arange(100), 4)
    queries, own = vectors[::37], groups[::37]
    exact = nearest_others(queries, own, Points(vectors, groups), 5)
    found = nearest_others(queries, own, Points(vectors, groups, CloseCells(vectors)), 5)
    even = nearest_others(queries, own, Points(vectors[::2], groups[::2]), 5) * 2
    missed = (queries.astype(float) @ vectors[0].astype(float)) / votes.LENGTH**2 > 0.1
    assert 0 < missed.sum() < len(missed)
    np.testing.assert_array_equal(found[missed], exact[missed])
    np.testing.assert_array_equal(found[~missed], even[~missed])


def test_faiss_that_is_not_installed_is_named(varied, tiny_clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ModuleNotFoundError, match=r'this needs faiss: pip install "sds-hf\[faiss\]"'):
        RegionKNN(model=tiny_clip, dtype="fp32", search="faiss").fit(varied)


def test_faiss_finds_nearly_all(varied, tiny_clip, tmp_path):
    pytest.importorskip("faiss")
    vectors, groups = clustered(20_000), np.arange(20_000)
    exact = nearest_others(vectors[:200], groups[:200], Points(vectors, groups), 20)
    path = tmp_path / "index.faiss"
    with path.open("wb") as file:
        votes.write_index(file, votes.build_index(vectors))
    found = nearest_others(vectors[:200], groups[:200], Points(vectors, groups, votes.read_index(path)), 20)
    shared = [len(set(a) & set(b)) for a, b in zip(exact.tolist(), found.tolist(), strict=True)]
    assert np.mean(shared) > 19
    scores = [RegionKNN(model=tiny_clip, dtype="fp32", k=3, search=search) for search in ("exact", "faiss")]
    one, other = (add_scores(varied, score)["region_knn"][:] for score in scores)
    assert one == other  # so few regions are in one cell
    assert "index_sha256" in scores[1].fit(varied).statistics


# Forks after the imports; each process has a cache of its own, so that each fits by itself.
RANKS = """
import os, sys
from datasets import load_from_disk
from sds_hf import score_table
from sds_hf.scores.region_knn import RegionKNN

data, model, folder = sys.argv[1:]
for count in (1, 3):
    children = []
    for rank in range(count):
        children.append(os.fork())
        if children[-1] == 0:
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count)}
            os.environ["XDG_CACHE_HOME"] = f"{folder}/cache-{count}-{rank}"
            score = RegionKNN(model=model, dtype="fp32", k=4)
            score_table(load_from_disk(data), [score], f"{folder}/of-{count}", rows_per_shard=3)
            os._exit(0)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * count
"""


@pytest.mark.slow
def test_several_processes_make_the_table_of_one(varied, tiny_clip, tmp_path):
    varied.save_to_disk(tmp_path / "data")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RANKS, str(tmp_path / "data"), str(tiny_clip), str(tmp_path)]
    subprocess.run(command, env=environment, check=True, timeout=600)
    one, three = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / f"of-{count}").glob("scores-*.parquet"))}
        for count in (1, 3)
    )
    assert len(one) == 7
    assert one == three
    assert len(list(tmp_path.glob("cache-3-*/sds_hf/models/*.npy"))) == 3
