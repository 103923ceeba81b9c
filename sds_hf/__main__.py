"""`python -m sds_hf`, also under `accelerate launch -m`."""

import sys

from sds_hf.cli import main

sys.exit(main())
