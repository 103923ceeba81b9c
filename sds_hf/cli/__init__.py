"""`sds-hf`: one module a command, which parses, calls public functions and prints."""

from sds_hf.cli.app import app, main

__all__ = ["app", "main"]
