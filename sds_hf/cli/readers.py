"""`sds-hf readers`: the raw layouts that `sds-hf import` reads."""

from sds_hf.cli import options


def command(json: options.Json = False, debug: options.Debug = False) -> None:
    """List every reader of `import` with the files that it expects in a folder."""
    from sds_hf.cli import show, show_catalog
    from sds_hf.cli.answer import answer
    from sds_hf.data.sources import READERS

    layouts = {name: reader.summary for name, reader in sorted(READERS.items())}
    if json:
        return answer("readers", {"readers": layouts}, counts={"readers": len(layouts)})
    show_catalog.named(layouts)
    return show.next_steps([["sds-hf", "import", "auto", "FOLDER", "--labels", "voc", "--out", "candidates"]])
