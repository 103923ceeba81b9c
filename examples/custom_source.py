"""A source of your own. `[project.entry-points."sds_hf.sources"] pairs = "custom_source"` makes `import pairs` read it.

The layout: `street_rgb.jpg` beside `street_label.png`, an 8-bit picture of class indices.
"""

import numpy as np
from PIL import Image

from sds_hf import Reader


class Pairs(Reader):
    """Files whose names differ in their end only."""

    name = "pairs"
    summary = "*_rgb.jpg beside *_label.png"

    @classmethod
    def recognises(cls, path):
        return any(path.glob("*_rgb.jpg"))

    def entries(self):
        return sorted(self.path.glob("*_rgb.jpg"))

    def read(self, entry):
        mask = entry.with_name(entry.name.replace("_rgb.jpg", "_label.png"))
        if not mask.exists():
            return self.missing("image without a mask", entry)
        indices = self.check_mask(np.asarray(Image.open(mask)), mask)  # refuses indices that mean nothing
        return self.row(entry.name.removesuffix("_rgb.jpg"), entry, indices, caption=f"a {self.path.name}")
