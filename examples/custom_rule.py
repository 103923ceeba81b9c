"""A rule of your own. `[project.entry-points."sds_hf.rules"] crowded = "custom_rule"` makes it known to recipes.

As in a recipe: `- crowded: {most: 3}`.
"""

from typing import Annotated

from pydantic import Field

from sds_hf import Rule, settings


@settings
class Crowded(Rule):
    """Keep rows that show few classes.

    Args:
        most: how many a row may show.
    """

    kind = "crowded"
    most: Annotated[int, Field(ge=1)]

    @property
    def reads(self):
        return ("num_classes_present",)

    @property
    def label(self):
        return f"at most {self.most} classes"

    def apply(self, candidates):
        number = candidates.number("num_classes_present")  # SQL of the column
        candidates.step(f"WHEN {number} > {self.most} THEN 'dropped:crowded'")
        return {}
