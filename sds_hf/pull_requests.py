"""A draft pull request in which the files of a large version gather, until they reach the main branch all at once."""

from typing import Any

TITLE = "sds-hf: version"
SUPERSEDED = "Superseded: another version is published now."


def draft_for(api: Any, name: str, version: str, parent: str) -> Any:
    """The pull request of a version that is not merged yet: the one of an interrupted run, or a new one.

    Other ones that this user's interrupted runs left are closed.

    Args:
        api: of `huggingface_hub`.
        name: Hub id of the dataset.
        version: digest of what is published.
        parent: commit of the main branch that it follows.
    """
    title, user = f"{TITLE} {version[:12]} after {parent[:12]}", api.whoami()["name"]
    found = None
    for other in api.get_repo_discussions(name, repo_type="dataset", discussion_type="pull_request", author=user):
        if not (other.is_pull_request and other.title.startswith(TITLE) and other.author == user):
            continue
        if other.status not in ("draft", "open"):
            continue
        if other.title == title and found is None:
            found = other
        else:
            api.change_discussion_status(name, other.num, "closed", repo_type="dataset", comment=SUPERSEDED)
    return found or api.create_pull_request(
        name, title, repo_type="dataset", description="Files gather here; sds-hf merges them when all are there."
    )


def merge(api: Any, name: str, draft: Any) -> None:
    """Merge a pull request; a draft has to be opened before."""
    if draft.status == "draft":
        api.change_discussion_status(name, draft.num, "open", repo_type="dataset")
    api.merge_pull_request(name, draft.num, repo_type="dataset")
