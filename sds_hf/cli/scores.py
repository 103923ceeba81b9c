"""`sds-hf scores`: what there is to choose from."""

from dataclasses import asdict

from sds_hf.cli import options


def command(json: options.Json = False, debug: options.Debug = False) -> None:
    """List every score with what it writes, what it reads, what it costs and who published it."""
    from sds_hf.cli import show
    from sds_hf.scores.base.catalog import catalog

    entries = catalog()
    if json:
        return options.print_json([asdict(entry) for entry in entries])
    return show.catalog(entries)
