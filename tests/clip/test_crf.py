"""The dense CRF: against golden labels of the authors' code, and against exact kernels on small images."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import TESTS

from sds_hf.clip.reference import crf
from sds_hf.clip.reference.cam import min_max
from sds_hf.clip.reference.crf import CRFSettings, crf_image, dense_crf
from sds_hf.clip.reference.lattice import permutohedral

GOLDEN = TESTS / "golden" / "clip_es_random_vit" / "golden.npz"


def smooth(channels, height, width, seed, cells=4):
    """Random maps in [0, 1] without edges, (channels, height, width)."""
    coarse = torch.rand(1, channels, cells, cells, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(height, width), mode="bilinear")[0]


def random_probabilities(classes, height, width, seed):
    """The background and some classes, as reference masks have them: they need not sum to 1."""
    maps = smooth(classes, height, width, seed, cells=6)
    maps = min_max(maps.flatten(1)).view_as(maps)
    return torch.cat([1 - maps.amax(0, keepdim=True), maps])


def random_picture(height, width, seed):
    """Regions with edges, shading and grain, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    image = 60 * smooth(3, height, width, seed).permute(1, 2, 0)
    image[:, int(rng.integers(width // 4, width)) :] += 80
    image[int(rng.integers(height // 4, height)) :] += 60
    return (image + torch.from_numpy(rng.normal(0, 1, image.shape))).clamp(0, 255).to(torch.uint8)


def smooth_picture(height, width, seed):
    """No edges, (height, width, 3) uint8."""
    return (255 * smooth(3, height, width, seed)).to(torch.uint8).permute(1, 2, 0).contiguous()


def exact_crf(probabilities, image, how):
    """Mean field with all pairs of pixels, in double precision."""
    height, width = image.shape[:2]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    positions = torch.stack([rows, columns], -1).view(-1, 2).double()
    colours = image.view(-1, 3).double()
    message = 0
    for weight, features in (
        (how.gaussian_compat, positions / how.gaussian_sxy),
        (how.bilateral_compat, torch.cat([positions / how.bilateral_sxy, colours / how.bilateral_srgb], 1)),
    ):
        kernel = torch.exp(-(torch.cdist(features, features) ** 2) / 2)
        norm = 1 / (kernel.sum(1) + 1e-20).sqrt()
        message = message + weight * norm[:, None] * kernel * norm
    unary = -probabilities.double().clamp(1e-5, 1).log().flatten(1).T
    posterior = (-unary).softmax(1)
    for _ in range(how.iterations):
        posterior = (-unary + message @ posterior).softmax(1)
    return posterior.T.view(probabilities.shape).float()


# Labels


@pytest.mark.parametrize("case", range(4))
def test_labels_equal_those_of_the_authors_code(case):
    values = np.load(GOLDEN)
    cams, image, expected, confident = (
        torch.from_numpy(values[f"case{case}_{name}"])
        for name in ("refined_cam_fullres", "image", "label_crf", "label_crf_conf95")
    )
    cams = cams.float()
    probabilities = torch.cat([1 - cams.amax(0, keepdim=True), cams])
    (posterior,) = dense_crf([probabilities], [crf_image(image, "authors")])
    largest, labels = posterior.max(0)
    assert (labels == expected).float().mean() > 0.999
    assert (labels.masked_fill(largest < 0.95, 255) == confident).float().mean() > 0.999


@pytest.mark.parametrize(("picture", "distance", "share"), [("smooth", 0.01, 0.98), ("regions", 0.02, 0.97)])
def test_posteriors_are_close_to_those_of_exact_kernels(picture, distance, share):
    distances, agreements, changed = [], [], []
    for seed in range(6):
        size = 24 + seed, 32
        image = random_picture(*size, seed) if picture == "regions" else smooth_picture(*size, seed)
        probabilities = random_probabilities(2, *size, seed)
        expected = exact_crf(probabilities, image, CRFSettings())
        (found,) = dense_crf([probabilities], [image])
        distances.append((found - expected).abs().mean())
        agreements.append((found.argmax(0) == expected.argmax(0)).float().mean())
        changed.append((probabilities.argmax(0) != expected.argmax(0)).float().mean())
    assert np.mean(distances) < distance
    assert np.mean(agreements) > share
    assert np.mean(changed) > 2 * (1 - np.mean(agreements))  # what the CRF changes is more than what the lattice does


def test_labels_follow_the_edges_of_the_image():
    """Probabilities know roughly where an object is, the image knows exactly."""
    image = torch.full((40, 60, 3), 40, dtype=torch.uint8)
    image[8:32, 15:45] = 200
    blurred = F.avg_pool2d((image[None, None, ..., 0] > 100).float(), 13, 1, 6)[0]
    blurred = blurred.roll((3, -4), (1, 2)).clamp(0.02, 0.98)
    probabilities = torch.cat([1 - blurred, blurred])
    (posterior,) = dense_crf([probabilities], [image])
    truth = image[..., 0] > 100
    assert (probabilities.argmax(0).bool() == truth).float().mean() < 0.93
    assert (posterior.argmax(0).bool() == truth).all()


def test_without_kernels_probabilities_are_made_to_sum_to_one():
    probabilities, image = random_probabilities(2, 9, 7, 0), random_picture(9, 7, 0)
    probabilities[2] = 0
    for how in (CRFSettings(iterations=0), CRFSettings(gaussian_compat=0, bilateral_compat=0)):
        (posterior,) = dense_crf([probabilities], [image], how)
        clipped = probabilities.clamp(1e-5, 1)
        torch.testing.assert_close(posterior, clipped / clipped.sum(0))


# Batches

SHAPES = [(24, 31, 2), (17, 40, 4), (24, 31, 1), (1, 5, 3), (32, 8, 2)]  # height, width, classes besides the background


def random_batch():
    return (
        [random_probabilities(count, height, width, seed) for seed, (height, width, count) in enumerate(SHAPES)],
        [random_picture(height, width, seed) for seed, (height, width, _) in enumerate(SHAPES)],
    )


@pytest.mark.parametrize(("pixels", "parts"), [(1 << 18, [5]), (1500, [2, 3]), (1, [1] * 5)])
def test_batches_of_mixed_sizes_and_counts_equal_one_at_a_time(monkeypatch, pixels, parts):
    batch, lengths = random_batch(), []
    single = [dense_crf([one], [image])[0] for one, image in zip(*batch, strict=True)]

    def observed(probabilities, *rest):
        lengths.append(len(probabilities))
        return mean_field(probabilities, *rest)

    mean_field = crf._mean_field
    monkeypatch.setattr(crf, "_mean_field", observed)
    monkeypatch.setattr(crf, "MAX_PIXELS", {"cpu": pixels})
    together = dense_crf(*batch)
    assert lengths == parts
    assert [one.shape for one in together] == [one.shape for one in batch[0]]
    for one, expected in zip(together, single, strict=True):
        torch.testing.assert_close(one, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(one.sum(0), torch.ones(one.shape[1:]))


def test_classes_an_image_does_not_have_get_no_probability():
    """Not even the 1e-5 of a class of probability 0."""
    batch = random_batch()
    for posterior in dense_crf(*batch, CRFSettings(iterations=0)):
        torch.testing.assert_close(posterior.sum(0), torch.ones(posterior.shape[1:]), atol=1e-6, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_computes_what_the_cpu_computes():
    batch = random_batch()
    found = dense_crf(*[[one.cuda() for one in part] for part in batch])
    for one, expected in zip(found, dense_crf(*batch), strict=True):
        torch.testing.assert_close(one.cpu(), expected, atol=1e-3, rtol=0)


def test_no_image():
    assert dense_crf([], []) == []


def test_settings_of_one_call_do_not_stay_for_the_next():
    """The kernel of positions is kept between calls."""
    probabilities, image = random_probabilities(2, 16, 16, 0), random_picture(16, 16, 0)
    for how in (CRFSettings(), CRFSettings(gaussian_sxy=3), CRFSettings(gaussian_compat=9), CRFSettings()):
        (found,) = dense_crf([probabilities], [image], how)
        assert (found - exact_crf(probabilities, image, how)).abs().mean() < 0.03


# The image


def test_the_image_as_the_authors_pass_it():
    """Worked by hand: -74.008 becomes -74, which is 182 in 8 bits."""
    image = torch.tensor([[[10, 200, 30]]], dtype=torch.uint8)
    assert crf_image(image, "authors").tolist() == [[[182, 83, 144]]]
    assert crf_image(image, "rgb") is image


# The lattice

CLOUDS = st.tuples(st.integers(0, 1000), st.integers(1, 5), st.integers(2, 120), st.sampled_from([0.3, 2, 30]))


def cloud(seed, dim, count, spread):
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(count, dim, generator=generator), torch.rand(count, 3, generator=generator)


def alone(features):
    return permutohedral(features, torch.zeros(len(features), dtype=torch.int64))


@given(CLOUDS)
def test_weights_are_barycentric(given_cloud):
    features, _ = cloud(*given_cloud)
    lattice = alone(features)
    count, corners = len(features), features.shape[1] + 1
    weights = lattice.slice.weights.view(count, corners)
    torch.testing.assert_close(weights.sum(1), torch.ones(count))
    assert weights.min() > -1e-4
    vertices = lattice.slice.columns.view(count, corners).sort(1).values
    assert (vertices.diff(dim=1) > 0).all()
    assert set(vertices.flatten().tolist()) == set(range(lattice.size))


@given(CLOUDS)
def test_splatting_is_the_transpose_of_slicing(given_cloud):
    features, values = cloud(*given_cloud)
    lattice = alone(features)
    vertices = torch.rand(lattice.size, 3, generator=torch.Generator().manual_seed(0))
    left, right = ((lattice.splat @ values) * vertices).sum(), (values * (lattice.slice @ vertices)).sum()
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), dim=st.integers(1, 5))
def test_filtering_approximates_a_gaussian(seed, dim):
    features, _ = cloud(seed, dim, 800, 1)
    values = torch.stack([features[:, 0].sin(), (features[:, -1] > 0).float()], 1)
    kernel = torch.exp(-(torch.cdist(features, features) ** 2) / 2)
    exact = kernel @ values / kernel.sum(1, keepdim=True)
    lattice = alone(features)
    found = lattice @ values / (lattice @ torch.ones(800, 1))
    assert (found - exact).abs().mean() < 0.035
    assert (values - exact).abs().mean() > 0.15


def test_a_single_point_worked_by_hand():
    """In one dimension both axes are the line itself: 1 spreads as 1, 1/2 and then as 1 + 1/4 back."""
    torch.testing.assert_close(alone(torch.zeros(1, 1)) @ torch.ones(1, 1), torch.tensor([[1.25]]))


def test_rows_sum_to_one_after_normalisation_of_equal_points():
    """All points in one place: every pair weighs the same, so the normalised filter is the mean."""
    values = torch.rand(50, 2)
    found = alone(torch.full((50, 5), 0.7)).normalised(3) @ values
    torch.testing.assert_close(found, 3 * values.mean(0).expand(50, 2))


def test_points_far_apart_and_of_other_groups_do_not_meet():
    features = torch.tensor([[0.0, 0], [0, 0], [30, 0], [0, -30]])
    values = torch.eye(4)
    lattice = permutohedral(features, torch.tensor([0, 1, 0, 0]))
    assert ((lattice @ values > 0) == values.bool()).all()
    assert lattice.size == 12


@given(CLOUDS)
def test_points_far_away_change_nothing(given_cloud):
    """They widen the range of the coordinates, by which vertices are numbered."""
    features, values = cloud(*given_cloud)
    dim = features.shape[1]
    far = torch.cat([torch.eye(dim), -torch.eye(dim)]) * 500
    found = alone(torch.cat([features, far])) @ torch.cat([values, torch.ones(2 * dim, 3)])
    torch.testing.assert_close(found[: len(features)], alone(features) @ values, rtol=1e-4, atol=1e-5)


def test_more_cells_than_can_be_numbered():
    with pytest.raises(ValueError, match=r"features span .* cells, too many to count: use wider Gaussians"):
        alone(torch.rand(10, 5) * 1e5)
