"""Read at the start of a job's process: uploads as the tests' Hub knows them, and a sudden death if asked for."""

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


plain_uploads.install(after=die if "DIES_AFTER" in os.environ else lambda name: None)
