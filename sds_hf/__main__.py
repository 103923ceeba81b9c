"""`python -m sds_hf`, also under `accelerate launch -m`."""

import sys

from sds_hf.cli import main

if __name__ == "__main__":
    sys.exit(main())
