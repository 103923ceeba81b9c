"""Read at the start of a job: uploads as the tests' Hub knows them; if asked for, a death, or an old view of files."""

import os
import signal
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

path = Path(__file__).parents[1] / "plain_uploads.py"
spec = spec_from_file_location("plain_uploads", path)
plain_uploads = module_from_spec(spec)
spec.loader.exec_module(plain_uploads)

uploaded = 0


def die(name: str) -> None:
    """End at once after so many shards, before anybody has been told of the last one."""
    global uploaded
    uploaded += "/scores-" in name
    if uploaded == int(os.environ.get("DIES_AFTER", 0)):
        os.kill(os.getpid(), signal.SIGKILL)


if "SEES_OTHERS" in os.environ:  # as a job does whose store shows files late: to it the table is not whole
    from sds_hf.table import writer

    writer._end_if_whole = lambda task, phase: False
plain_uploads.install(after=die if "DIES_AFTER" in os.environ else lambda name: None)
