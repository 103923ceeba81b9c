"""A home and a Hub of the tests' own. Imported before the libraries that read the environment."""

import os
import tempfile

from support.minihub import MiniHub

HOME = tempfile.mkdtemp(prefix="sds-hf-tests-")
os.environ.update(
    HF_HOME=f"{HOME}/hf",
    XDG_CACHE_HOME=f"{HOME}/cache",
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_UPDATE_DOWNLOAD_COUNTS="0",
    HF_DATASETS_DISABLE_PROGRESS_BARS="1",
    TQDM_DISABLE="1",
    TOKENIZERS_PARALLELISM="false",
)
HUB = MiniHub(f"{HOME}/hub", tokens={"hf_user": "user", "hf_other": "other"}).start()
os.environ.update(HF_ENDPOINT=HUB.url, HF_TOKEN="hf_user")
