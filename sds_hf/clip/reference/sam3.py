"""`sam3`: SAM 3, asked for every class of a picture by its name."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sds_hf.clip.segmenters import Sam3
from sds_hf.clip.stages import stage


class Sam3Judge:
    """One vision pass a picture, then one pass of the detector a class; see `Judge`.

    Args:
        model: the checkpoint.
        names: of all classes, in the order of `present`.
    """

    exclusive = False
    scales: tuple[float, ...] = (1.0,)  # it sees one size, whatever the picture's is

    def __init__(self, model: Sam3, names: Sequence[str]) -> None:
        self.model, self.names, self.device = model, names, model.device

    def rows_at_once(self, height: int, width: int) -> int:
        """One: a picture of a million pixels fills any device."""
        return 1

    def maps(self, pixels: Tensor, present: Tensor, scale: float) -> Iterator[tuple[Tensor, None]]:
        """For each image the probability of each of its classes, each by itself."""
        for picture, chosen in zip(pixels, present, strict=True):
            with stage("sam 3, vision"):
                seen = self.model.look(picture[None])
            with stage("sam 3, classes"):
                names = [self.names[index] for index in chosen.nonzero()[:, 0].tolist()]
                yield torch.stack([self.model.find(seen, name) for name in names]), None
