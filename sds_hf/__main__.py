"""`sds-hf`, and `python -m sds_hf`, also under `accelerate launch -m`."""

import sys


def main() -> int:
    """Run a command, see `sds_hf.cli.app.main`; Ctrl-C may come while that is still loaded."""
    try:
        from sds_hf.cli import main as run
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
