"""A small server that speaks the Hugging Face Hub's protocol over real HTTP, for tests.

Datasets and models: create, info, tree, commit, LFS, resolve with ranges and redirects, refs, tags, pull requests.
Buckets, and jobs that are processes here. No xet: clients set `HF_HUB_DISABLE_XET=1`, and upload into buckets by
`support.plain_uploads`. Faults can be injected into any request; every request is logged.
"""

from support.minihub.server import MiniHub

__all__ = ["MiniHub"]
