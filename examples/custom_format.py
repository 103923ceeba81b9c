"""A format of your own. `[project.entry-points."sds_hf.exports"] arrays = "custom_format"` makes `export` write it."""

import numpy as np

from sds_hf import export_format


@export_format("arrays", "the picture of a row, and a compressed array file of its mask with the names of the classes")
def write_arrays(job):
    """Write `<id>.npz` beside the picture as it is stored."""
    for sample in job.samples():
        (job.folder / f"{sample.name}.{sample.suffix}").write_bytes(sample.image)
        np.savez_compressed(job.folder / f"{sample.name}.npz", mask=sample.indices, names=job.labels.names)
