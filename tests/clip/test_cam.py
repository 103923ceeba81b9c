"""Class activation maps and their refinement: worked numbers, and one step at a time in plain Python."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sds_hf.clip.reference.cam import affinity, grad_cam, min_max, object_boxes, refine

ATTENTION = torch.tensor(
    [[0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25], [0.1, 0.2, 0.3, 0.4], [0.1, 0.1, 0.2, 0.6]], dtype=torch.float64
)


def test_worked_grad_cam():
    activations = torch.tensor([[[1, 0], [2, 1]], [[0, 3], [1, 1]]]).double().view(2, 4).T
    gradients = torch.tensor([[[0.1, 0.3], [0.2, 0.2]], [[-0.1, -0.1], [0, -0.2]]]).double().view(2, 4).T
    np.testing.assert_allclose(gradients.mean(0), [0.2, -0.1], atol=1e-8)
    expected = [0.66666644, 0, 0.99999967, 0.33333322]
    once = min_max((activations * gradients.mean(0)).sum(-1).relu())
    np.testing.assert_allclose(once, expected, atol=1e-8)
    np.testing.assert_allclose(grad_cam(activations, gradients.mean(0)), expected, atol=4e-7)  # scaled twice


def test_scaling_twice_matters_for_a_class_of_tiny_probability():
    activations = torch.eye(3, dtype=torch.float64)
    gradients = torch.full((3, 3), 2e-7, dtype=torch.float64) * torch.tensor([1.0, 0.5, 0.1])
    once = min_max((activations * gradients.mean(0)).sum(-1).relu())
    twice = grad_cam(activations, gradients.mean(0))
    assert once.max() < 0.7
    assert twice.max() > 0.99


def test_worked_affinity():
    squared = affinity(ATTENTION)
    np.testing.assert_allclose(squared[0], [0.3178560935, 0.2768766837, 0.2231289445, 0.1813216834], atol=1e-9)
    cam, boxes = torch.tensor([[1, 0.6, 0.2, 0]]).double(), torch.tensor([[True, True, False, True]])
    spread = refine(cam, boxes, squared)
    np.testing.assert_allclose(spread[0], [0.4839821038, 0.4353124178, 0.3690518355, 0.3105833781], atol=1e-9)
    np.testing.assert_allclose(min_max(spread)[0], [0.9999994233, 0.7193188261, 0.3371906189, 0], atol=1e-9)


@given(seed=st.integers(0, 1000), side=st.integers(2, 6))
def test_affinity_equals_scaling_rows_and_columns_by_hand(seed, side):
    attention = np.random.default_rng(seed).random((side, side)) + 0.01
    expected = attention.copy()
    for _ in range(3):
        for column in range(side):
            expected[:, column] /= expected[:, column].sum()
        for row in range(side):
            expected[row] /= expected[row].sum()
    expected = (expected + expected.T) / 2
    np.testing.assert_allclose(affinity(torch.from_numpy(attention)), expected @ expected, atol=1e-12)


def test_affinity_of_a_batch_is_that_of_each():
    batch = torch.rand(3, 7, 7, dtype=torch.float64)
    together = affinity(batch)
    for one, expected in zip(batch, together, strict=True):
        torch.testing.assert_close(affinity(one), expected)


def test_worked_box():
    cam = torch.tensor([[0, 0.1, 0.2], [0.1, 1, 0.5], [0, 0.45, 0.3]])
    inclusive = [[False, False, False], [False, True, True], [False, True, True]]
    assert object_boxes(cam, 0.4).tolist() == inclusive
    exclusive = [[False, False, False], [False, True, False], [False, False, False]]
    assert object_boxes(cam, 0.4, exclusive=True).tolist() == exclusive


def test_boxes_of_several_parts_and_of_none():
    cam = torch.zeros(6, 6)
    assert not object_boxes(cam, 0.4).any()
    cam[0, 0] = cam[4, 3] = cam[5, 5] = cam[4, 5] = 1.0
    cam[1, 1] = 0.9  # touches (0, 0) at a corner: one part, 8-connected
    boxes = object_boxes(cam, 0.4)
    assert boxes[:2, :2].all()
    assert boxes.sum() == 4 + 1 + 2


@pytest.mark.parametrize("shape", [(1, 4), (2, 3, 5)])
def test_min_max_of_a_constant_is_zero(shape):
    assert not min_max(torch.full(shape, 0.3)).any()
