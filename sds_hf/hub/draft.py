"""A version that is too large for one commit: its files gather in a draft pull request, which is merged at once."""

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
    draft = None
    for other in api.get_repo_discussions(name, repo_type="dataset", discussion_type="pull_request", author=user):
        if not (other.is_pull_request and other.title.startswith(TITLE) and other.author == user):
            continue
        if other.status not in ("draft", "open"):
            continue
        if other.title == title and draft is None:
            draft = other
        else:
            api.change_discussion_status(name, other.num, "closed", repo_type="dataset", comment=SUPERSEDED)
    return draft or api.create_pull_request(
        name, title, repo_type="dataset", description="Files gather here; sds-hf merges them when all are there."
    )


def merge_draft(api: Any, name: str, draft: Any) -> None:
    """Merge a pull request; a draft has to be opened before."""
    if draft.status == "draft":
        api.change_discussion_status(name, draft.num, "open", repo_type="dataset")
    api.merge_pull_request(name, draft.num, repo_type="dataset")
