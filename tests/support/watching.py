"""Progress, written down."""

from contextlib import contextmanager


class Steps:
    """A `Watch` that keeps what it was told: by step its total, and rows done."""

    def __init__(self) -> None:
        self.totals: dict[str, int | None] = {}
        self.told: dict[str, list[int]] = {}

    @contextmanager
    def __call__(self, step, total, device=""):
        self.totals[step], self.told[step] = total, []
        yield lambda finished, failed: self.told[step].append(finished)

    @property
    def last(self) -> dict[str, int | None]:
        """By step how far it came; None if it was told nothing."""
        return {step: told[-1] if told else None for step, told in self.told.items()}
