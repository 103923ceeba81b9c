"""`sds-hf verify`: whether a published dataset is what it claims."""

from typing import TYPE_CHECKING, Annotated

import typer

from sds_hf.cli import options
from sds_hf.progress import Watch, nothing

if TYPE_CHECKING:
    from sds_hf.check.verify import Verification
    from sds_hf.publishing.publish import Published


def command(
    target: Annotated[str, typer.Argument(help="Hub id, user/name or user/name@revision, or a published folder.")],
    rescore: Annotated[int, typer.Option(min=0, help="Rows to score again with the recorded models and settings.")] = 0,
    sample: Annotated[int, typer.Option(min=1, help="Masks to decode.")] = 100,
    download: Annotated[
        bool,
        typer.Option(
            help="Without, the checksums that the Hub keeps of large files are compared and nothing is loaded."
        ),
    ] = True,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=PATH",
            help="Where a model or fitted file lies here, e.g. `model=clip` or `gmm_sim.fitted=gmm.npz`.",
        ),
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Check a published dataset: checksums, counts, features, ids, scores, masks, and that it loads and streams.

    Exits with 1 if anything fails.
    """
    from sds_hf.check.verify import verify
    from sds_hf.cli import show
    from sds_hf.cli.answer import answer, verified
    from sds_hf.cli.progress import watcher
    from sds_hf.selection.yaml_text import apply_override

    local_paths: dict[str, str] = {}
    for override in settings or ():
        apply_override(local_paths, override)
    watch = watcher(json, brief=True)
    verification = verify(target, rescore=rescore, places=local_paths, sample=sample, download=download, watch=watch)
    if json:
        counts = {"checks": len(verification.checks), "failed": len(verification.failures)}
        answer("verify", verified(verification), counts=counts)
    else:
        show.verification(verification)
    if not verification.ok:
        raise typer.Exit(1)


def after_push(published: "Published", verify: bool, watch: Watch = nothing) -> "Verification | None":
    """Check what was pushed, if it was and is to be checked; that it cannot be read is a finding too."""
    if not verify or published.revision is None or published.dry_run:
        return None
    from sds_hf.check.file_checks import Check
    from sds_hf.check.verify import Verification, verify_published

    try:
        return verify_published(published.target, published.revision, watch=watch)
    except ValueError as error:
        return Verification(published.target, published.revision, [Check("verification", False, str(error))])


def conclude(verification: "Verification | None", json: bool) -> None:
    """Show what was checked after a push, in a line if all is well; exits with 1 if it is not."""
    from sds_hf.cli import show

    if verification and not json:
        show.verification(verification, brief=verification.ok)
    if verification and not verification.ok:
        raise typer.Exit(1)
