"""Intersection over union, from counts of pixels."""

from dataclasses import dataclass

import numpy as np

from sds_hf.data.labels import IGNORE_INDEX


@dataclass
class Overlap:
    """Pixels of an evaluation set by class; ignored ones do not count.

    Attributes:
        both: (classes,) int64, pixels of the class that were predicted as it.
        labelled: (classes,) int64, pixels of the class.
        predicted: (classes,) int64, pixels predicted as the class.
    """

    both: np.ndarray
    labelled: np.ndarray
    predicted: np.ndarray

    @classmethod
    def empty(cls, classes: int) -> "Overlap":
        """Nothing counted yet."""
        return cls(*(np.zeros(classes, np.int64) for _ in range(3)))

    def add(self, masks: np.ndarray, predictions: np.ndarray) -> None:
        """Count more pixels.

        Args:
            masks: class indices of any shape, 255 where ignored.
            predictions: class indices, likewise.
        """
        counted, classes = masks != IGNORE_INDEX, len(self.both)
        labels, guesses = masks[counted].astype(np.int64), predictions[counted].astype(np.int64)
        self.labelled += np.bincount(labels, minlength=classes)
        self.predicted += np.bincount(guesses, minlength=classes)
        self.both += np.bincount(labels[labels == guesses], minlength=classes)

    def by_class(self) -> np.ndarray:
        """(classes,) float64 in [0, 1], NaN for classes that no mask of the evaluation set shows."""
        union = self.labelled + self.predicted - self.both
        return np.where(self.labelled > 0, self.both / np.maximum(union, 1), np.nan)

    def mean(self) -> float:
        """Mean over the classes that the evaluation set shows, in [0, 1]."""
        return float(np.nanmean(self.by_class()))

    def to_dict(self) -> dict[str, list[int]]:
        """As JSON."""
        return {name: values.tolist() for name, values in vars(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, list[int]]) -> "Overlap":
        """From what `to_dict` made."""
        return cls(**{name: np.array(values, np.int64) for name, values in data.items()})
