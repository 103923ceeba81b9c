"""Training one segmenter on some rows: the same loop for every depth, arm and seed."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sds_hf.clip.device import current_device, dtype_name, resolve_dtype
from sds_hf.clip.kinds import DTypeName
from sds_hf.progress import Watch
from sds_hf.prove.segmenters.iou import Overlap
from sds_hf.prove.segmenters.networks import Segmenter

WARM_UP = 0.1  # share of the steps in which the rate of `onecycle` rises
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Training:
    """How every arm is trained.

    Attributes:
        batch_size: rows a step.
        learning_rate: the highest, of AdamW.
        weight_decay: of AdamW.
        schedule: `onecycle` rises over the first tenth and falls to 0; `poly` falls from the start by the power 0.9.
        backbone_rate: factor of the learning rate for weights that were learnt elsewhere.
        clip_norm: bound of the gradient's norm; None for none.
        dtype: precision of the passes; weights are fp32.
    """

    batch_size: int = 16
    learning_rate: float = 4e-3
    weight_decay: float = 1e-3
    schedule: Literal["onecycle", "poly"] = "onecycle"
    backbone_rate: float = 1.0
    clip_norm: float | None = None
    dtype: DTypeName = "auto"

    def identity(self) -> dict[str, Any]:
        """Everything in it that decides a result."""
        return {**asdict(self), "dtype": dtype_name(resolve_dtype(self.dtype, current_device())), "format": FORMAT}

    def precision(self) -> AbstractContextManager[Any]:
        """Inside it, passes are made in the dtype."""
        device = current_device()
        dtype = resolve_dtype(self.dtype, device)
        return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


@dataclass(frozen=True)
class Trial:
    """A few rows, to measure how long things take.

    Attributes:
        batch: inputs and masks of training.
        batch_seconds: of making the batch, for each step.
        evaluation_seconds: of evaluating a network on all sets, as measured on the batch's rows.
        rows_left: rows that `prepare` would take.
        row_seconds: of `prepare` a row.
    """

    batch: tuple[Any, Tensor]
    batch_seconds: float
    evaluation_seconds: float
    rows_left: int
    row_seconds: float


class TrainingData(ABC):
    """Rows to train on, evaluation sets, and the network that goes with them."""

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Everything in it that decides a result."""

    @abstractmethod
    def prepare(self, watch: Watch) -> None:
        """What is done once for all arms."""

    @abstractmethod
    def network(self) -> Segmenter:
        """A network to train, on the device; its random weights follow from torch's seed."""

    @abstractmethod
    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Any, Tensor]:
        """Inputs and masks (B, H, W) int64 of some rows, on the device."""

    @abstractmethod
    def evaluate(self, network: Segmenter, training: Training) -> dict[str, Overlap]:
        """Overlap of the network's predictions with the masks of each evaluation set."""

    @abstractmethod
    def trial(self, count: int, training: Training) -> Trial:
        """What an estimate is made of, by so many rows."""


def train(
    data: TrainingData,
    rows: np.ndarray,
    steps: int,
    seed: int,
    training: Training,
    tell: Callable[[int], None] | None = None,
) -> tuple[Segmenter, list[float]]:
    """Train a network.

    Args:
        data: where the rows come from.
        rows: row numbers to train on.
        steps: of the optimiser.
        seed: of the first weights, of the order of rows and of how they are cropped.
        training: how.
        tell: called with the number of steps since the last call.

    Returns:
        The network, in evaluation mode, and the mean loss of each tenth of the steps.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    network = data.network().train()
    optimizer, scheduler = optimizer_of(network, steps, training)
    losses: list[Tensor] = []
    for batch_rows in row_batches(rows, training.batch_size, steps, seed):
        inputs, masks = data.batch(batch_rows, rng)
        losses.append(take_step(network, inputs, masks, optimizer, training))
        scheduler.step()
        if tell:
            tell(1)
    tenths = np.array_split(torch.stack(losses).cpu().numpy(), min(10, steps))
    return network.eval(), [round(float(tenth.mean()), 5) for tenth in tenths]


def take_step(network: Segmenter, inputs: Any, masks: Tensor, optimizer: Any, training: Training) -> Tensor:
    """One step of the optimiser; the loss before it."""
    with training.precision():
        loss = network.loss(inputs, masks)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if training.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), training.clip_norm)
    optimizer.step()
    return loss.detach().float()


def optimizer_of(network: Segmenter, steps: int, training: Training) -> tuple[Any, Any]:
    """AdamW with its schedule; weights learnt elsewhere with a rate of their own."""
    learnt = {id(weight) for weight in network.backbone_parameters()}
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    rates = {False: training.learning_rate, True: training.learning_rate * training.backbone_rate}
    groups: list[dict[str, Any]] = [
        {"params": members, "lr": rates[backbone]}
        for backbone in (False, True)
        if (members := [weight for weight in weights if (id(weight) in learnt) == backbone])
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=training.weight_decay, fused=True)
    if training.schedule == "poly":
        return optimizer, torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=steps, power=0.9)
    peaks = [group["lr"] for group in groups]
    warm_up = max(WARM_UP, 1.5 / steps)  # of a very short run at least one step
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peaks, total_steps=steps + 1, pct_start=min(warm_up, 0.75)
    )


def row_batches(rows: np.ndarray, size: int, steps: int, seed: int) -> Iterator[np.ndarray]:
    """Batches of rows in random order, each row once before any comes again."""
    rng, order = np.random.default_rng([seed, 0]), np.empty(0, np.int64)
    for _ in range(steps):
        while len(order) < size:
            order = np.concatenate([order, rng.permutation(rows)])
        yield order[:size]
        order = order[size:]
