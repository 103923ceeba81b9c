"""Real or synthetic: the worked numbers, the cross-fit that cannot be left out, and real data where there is some."""

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from support.paths import SHARED
from support.rows import random_dataset, random_row

from sds_hf import add_scores
from sds_hf.data.images import encode_jpeg
from sds_hf.scores.functional.neighbors import blocks, mean_cosine, nearest
from sds_hf.scores.functional.probe import cross_fit, fit_probe, fold_of, shifted
from sds_hf.scores.real_prob import RealProb

X = np.array([(1, 0), (0.8, 0.6), (0.6, 0.8), (0, 1), (-0.6, 0.8), (-0.8, 0.6)])
REAL = np.array([1, 1, 1, 0, 0, 0], bool)


def test_the_probe_of_the_specification():
    weights, bias = fit_probe(X, REAL)
    assert weights == pytest.approx([1.1201858423, -0.2968593216], abs=5e-10)
    assert bias == pytest.approx(-0.0009151900, abs=5e-10)
    expected = [0.7538534049, 0.6719720416, 0.6067589609, 0.4261016123, 0.2868946372, 0.2544193432]
    assert expit(X @ weights + bias) == pytest.approx(expected, abs=5e-10)


def test_the_balanced_probe_of_the_specification():
    weights, bias = fit_probe(X[:4], REAL[:4])
    assert weights == pytest.approx([0.6392764474, -0.4001444894], abs=5e-10)
    assert bias == pytest.approx(0.0404148556, abs=5e-10)
    expected = [0.6636697959, 0.5773121927, 0.5259429647, 0.4110250156, 0.3400061964, 0.3293573730]
    assert expit(X @ weights + bias) == pytest.approx(expected, abs=5e-10)


def test_the_prior_of_the_specification():
    assert shifted(np.array([0.2]), 0.2) == pytest.approx([0.2339223413], abs=1e-10)
    assert shifted(np.array([0.2]), 0.5) == pytest.approx(expit([0.2]))


def test_lda_is_the_closed_form():
    weights, bias = fit_probe(X, REAL, "lda")
    means = X[REAL].mean(0), X[~REAL].mean(0)
    covariance = sum(np.outer(x - means[1 - real], x - means[1 - real]) for x, real in zip(X, REAL, strict=True)) / 6
    ridged = covariance + 0.1 * np.trace(covariance) / 2 * np.eye(2)
    assert ridged @ weights == pytest.approx(means[0] - means[1])
    assert (means[0] + means[1]) @ weights / 2 == pytest.approx(-bias)


def test_a_fold_depends_on_seed_and_key_only():
    folds = [fold_of(f"row{index}", 0, 5) for index in range(500)]
    assert np.bincount(folds).min() > 70
    assert folds == [fold_of(f"row{index}", 0, 5) for index in range(500)]
    assert folds != [fold_of(f"row{index}", 1, 5) for index in range(500)]


def test_each_fold_is_fitted_on_the_others():
    rng = np.random.default_rng(0)
    features, real, folds = rng.normal(size=(40, 3)), np.arange(40) % 2 == 0, np.arange(40) % 4
    probe = cross_fit(features, real, folds, 4)
    weights, bias = fit_probe(features[folds != 2], real[folds != 2])
    assert probe.weights[2] == pytest.approx(weights)
    assert probe.logits(features, np.full(40, 2)) == pytest.approx(features @ weights + bias)


def test_a_fold_that_holds_all_of_a_kind_is_an_error():
    with pytest.raises(ValueError, match="without fold 0 of 2 there are no synthetic images to fit on"):
        cross_fit(X, REAL, REAL.astype(int), 2)


@given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 7), st.integers(0, 10))
def test_neighbours_do_not_depend_on_blocks(k, count, size, seed):
    generator = torch.Generator().manual_seed(seed)
    points = torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=1)
    queries = torch.nn.functional.normalize(torch.randn(3, 4, generator=generator), dim=1)
    cosines, places = nearest(queries, points, k, size=size)
    expected = (queries @ points.T).sort(dim=1, descending=True)
    there = min(k, count)
    assert torch.allclose(cosines[:, :there], expected.values[:, :there], atol=1e-6)
    assert (cosines[:, there:] == -torch.inf).all()
    assert (places[:, there:] == -1).all()
    assert sum(part.shape[1] for _, part in blocks(queries, points, size)) == count
    assert torch.allclose(mean_cosine(queries, points, k), expected.values[:, :there].mean(1), atol=1e-6)


def numbered(first: int, count: int) -> Dataset:
    rows = [random_row(first + index) for index in range(count)]
    return Dataset.from_list(rows, features=random_dataset(1).features)


def tinted(first: int, count: int) -> Dataset:
    """Rows of another domain: redder."""
    rows = []
    for index in range(count):
        rng = np.random.default_rng([3, first + index])
        image = rng.integers(0, 256, (40, 40, 3), np.uint8)
        image[..., 0] = 255
        rows.append(random_row(first + index) | {"image": {"bytes": encode_jpeg(image), "path": None}})
    return Dataset.from_list(rows, features=random_dataset(1).features)


@pytest.mark.filterwarnings("ignore:real_prob")
@pytest.mark.parametrize("method", ["logreg", "lda"])
def test_two_domains_are_told_apart(tiny_clip, tmp_path, method):
    real, synthetic = tinted(0, 30), numbered(100, 30)
    options = {"model": tiny_clip, "dtype": "fp32", "method": method}
    score = RealProb.fit(real, synthetic, tmp_path / "model.npz", **options)
    assert score.fit_summary()["auroc"] > 0.95
    ours, theirs = (add_scores(data, score)["real_prob"] for data in (tinted(200, 10), numbered(300, 10)))
    assert roc_auc_score(np.arange(20) < 10, [*ours, *theirs]) > 0.95
    assert all(0 <= value <= 1 for value in [*ours, *theirs])


def test_rows_of_the_fit_are_scored_by_a_probe_that_has_not_seen_them(tiny_clip, tmp_path):
    """Both sets are drawn alike, so that an honest probe cannot tell them apart and one that knows the rows can."""
    real, synthetic = numbered(0, 40), numbered(100, 40)
    with pytest.warns(UserWarning, match="cannot be told apart, so the column says little"):
        score = RealProb.fit(real, synthetic, tmp_path / "model.npz", model=tiny_clip, dtype="fp32")
    area = score.fit_summary()["auroc"]
    scored = [add_scores(data, score)["real_prob"] for data in (real, synthetic)]
    assert roc_auc_score(np.arange(80) < 40, np.concatenate(scored)) == pytest.approx(area, abs=1e-3)
    assert 0.3 < area < 0.6


def test_separable_sets_are_suspicious(tiny_clip, tmp_path):
    with pytest.warns(UserWarning, match=r"AUROC is 1.000: size, compression or resolution may be what is told apart"):
        RealProb.fit(tinted(0, 20), numbered(50, 20), tmp_path / "model.npz", model=tiny_clip, dtype="fp32")


@pytest.mark.filterwarnings("ignore:real_prob")
def test_groups_share_a_fold(tiny_clip, tmp_path):
    options = {"model": tiny_clip, "dtype": "fp32"}
    rows = [random_row(index) | {"id": f"2007_{index // 4:06d}_{index % 4}"} for index in range(24)]
    synthetic = Dataset.from_list(rows, features=random_dataset(1).features)
    pattern = RealProb.fit(tinted(0, 24), synthetic, tmp_path / "pattern.npz", group_pattern=r"(.*)_\d+", **options)
    same = [row | {"caption": row["id"].rpartition("_")[0]} for row in rows]
    captions = Dataset.from_list(same, features=synthetic.features)
    column = RealProb.fit(
        tinted(0, 24).remove_columns("caption").add_column("caption", tinted(0, 24)["id"]),
        captions, tmp_path / "column.npz", group_column="caption", **options,
    )  # fmt: skip
    assert pattern.reads == {"image", "id"}
    assert column.reads == {"image", "caption"}
    assert list(add_scores(synthetic, pattern)["real_prob"]) == pytest.approx(
        list(add_scores(captions, column)["real_prob"])
    )
    plain = RealProb.fit(tinted(0, 24), synthetic, tmp_path / "plain.npz", **options)
    assert list(add_scores(synthetic, plain)["real_prob"]) != list(add_scores(synthetic, pattern)["real_prob"])
    with pytest.raises(ValueError, match="was fitted with group_column='caption', not 'id'"):
        add_scores(synthetic, RealProb(**{**column.values(), "group_column": "id"}))


@pytest.mark.filterwarnings("ignore:real_prob")
def test_the_prior_moves_all_rows(tiny_clip, tmp_path):
    score = RealProb.fit(tinted(0, 20), numbered(50, 20), tmp_path / "model.npz", model=tiny_clip, dtype="fp32")
    rare = RealProb(**{**score.values(), "prior": 0.1})
    data = numbered(200, 6)
    even, shifted_down = (np.array(add_scores(data, each)["real_prob"]) for each in (score, rare))
    odds = shifted_down / (1 - shifted_down) / (even / (1 - even))
    assert odds == pytest.approx(np.full(6, 1 / 9), rel=1e-3)


def test_without_synthetic_images_rows_are_ranked_among_the_real(tiny_clip, tmp_path):
    real = tinted(0, 20)
    score = RealProb.fit(real, None, tmp_path / "knn.npz", model=tiny_clip, dtype="fp32", neighbors=3)
    own = np.array(add_scores(real, score)["real_prob"])
    assert sorted(own) == pytest.approx((np.arange(20) + 0.5) / 20, abs=0.051)  # each knows itself as one of them
    assert max(add_scores(numbered(50, 6), score)["real_prob"]) < 0.1
    with pytest.raises(ValueError, match=r"knn gives a rank: leave prior at 0.5"):
        add_scores(real, RealProb(**{**score.values(), "prior": 0.2}))


@pytest.mark.filterwarnings("ignore:real_prob")
def test_reencoded_images_are_of_one_size_and_compression(tiny_clip, tmp_path):
    score = RealProb.fit(
        tinted(0, 12), numbered(50, 12), tmp_path / "model.npz", model=tiny_clip, dtype="fp32", reencode=60
    )
    plain = RealProb.fit(tinted(0, 12), numbered(50, 12), tmp_path / "plain.npz", model=tiny_clip, dtype="fp32")
    data = numbered(80, 4)
    assert list(add_scores(data, score)["real_prob"]) != list(add_scores(data, plain)["real_prob"])


@pytest.mark.filterwarnings("ignore:real_prob")
def test_a_row_without_a_group_has_no_score(tiny_clip, tmp_path):
    score = RealProb.fit(
        tinted(0, 12), numbered(50, 12), tmp_path / "model.npz", model=tiny_clip, dtype="fp32", group_column="caption"
    )
    rows = [random_row(index) | {"caption": None if index == 1 else "a"} for index in range(3)]
    scored = add_scores(Dataset.from_list(rows, features=random_dataset(1).features), score)
    assert [value is None for value in scored["real_prob"]] == [False, True, False]


def test_errors_say_what_to_do(tiny_clip, tmp_path):
    data, out = numbered(0, 4), tmp_path / "model.npz"
    with pytest.raises(ValueError, match="'lda' needs synthetic images beside the real ones; without, give 'knn'"):
        RealProb.fit(data, None, out, model=tiny_clip, method="lda")
    with pytest.raises(ValueError, match="folds must be at least 2, not 1: cross-fitting cannot be left out"):
        RealProb.fit(data, data, out, model=tiny_clip, folds=1)
    with pytest.raises(ValueError, match=r"\['id'\] missing among"):
        RealProb.fit(data.remove_columns("id"), data, out, model=tiny_clip)
    assert not out.exists()


@pytest.mark.skipif(not SHARED.exists(), reason="there are no samples of real data")
@pytest.mark.filterwarnings("ignore:real_prob")
def test_street_scenes_against_generated_images(tmp_path):
    real, synthetic = (
        folder_of_images(sorted((SHARED / "samples" / folder).glob("*.*g")))
        for folder in ("camvid/val", "dataset_diffusion_coco/image")
    )
    score = RealProb.fit(real, synthetic, tmp_path / "model.npz", model="demo", dtype="fp32")
    assert score.fit_summary()["auroc"] > 0.9


@pytest.mark.skipif(not SHARED.exists(), reason="there are no samples of real data")
def test_frames_that_look_alike_are_a_rank(tmp_path):
    real = folder_of_images(sorted((SHARED / "samples" / "camvid" / "val").glob("*.png")))
    score = RealProb.fit(real, None, tmp_path / "knn.npz", model="demo", dtype="fp32")
    synthetic = folder_of_images(sorted((SHARED / "samples" / "dataset_diffusion_coco" / "image").glob("*.jpg")))
    assert max(add_scores(synthetic, RealProb(**{**score.values(), "labels": "voc"}))["real_prob"]) < 0.2


def folder_of_images(paths) -> Dataset:
    rows = {"id": [path.name for path in paths], "image": [str(path) for path in paths]}
    return Dataset.from_dict(rows, features=Features({"id": Value("string"), "image": Image()}))
