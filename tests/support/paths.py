"""Where things lie."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
PACKAGE = ROOT / "sds_hf"
DEMO_CLIP = PACKAGE / "demo" / "clip"
SHARED = ROOT.parent / "shared"  # samples that only some machines have
