"""A small server that speaks the Hugging Face Hub's protocol over real HTTP, for tests.

Datasets and models: create, info, tree, commit, LFS, resolve with ranges and redirects, refs, tags, pull requests. No
xet: clients set `HF_HUB_DISABLE_XET=1`. Faults can be injected into any request; every request is logged.
"""

from support.minihub.server import MiniHub

__all__ = ["MiniHub"]
