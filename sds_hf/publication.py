"""Where a selection is published and what its card says of it."""

from pydantic import BaseModel, ConfigDict, Field

from sds_hf.gates import Gate


class Origin(BaseModel):
    """Something the images or masks come from: a generator, a dataset, artwork.

    Attributes:
        name: what it is called.
        role: what it was for, e.g. `generator`, `prompts`, `artwork`.
        license: its licence.
        link: where it is found.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    role: str = "source"
    license: str | None = None
    link: str | None = None


class Publication(BaseModel):
    """Where the selection goes and what its card says of it.

    Attributes:
        to: Hub id, `user/name`.
        folder: a folder instead.
        title: of the card; the recipe's name if None.
        license: id of the Hub; `other` needs the name and a link (`LICENSE`, `LICENSE.md` or a web address).
        license_name: of a licence the Hub has no id for.
        license_link: its text.
        language: of the captions, ISO 639 codes.
        description: a paragraph below the first.
        attribution: who made what the set is made from; a paragraph.
        origins: the same as a table, with licences.
        citation: BibTeX of what users are to cite besides the method.
        tags: further tags of the card.
        private: whether a new repository on the Hub is private; the account's default if None.
        tag: of the version on the Hub; `v1`, `v2`, ... if None.
        gate: limits that a new version has to keep to be published.
        truth: column that tells what was made wrong on purpose, null if nothing.
    """

    model_config = ConfigDict(extra="forbid")

    to: str | None = None
    folder: str | None = None
    title: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    language: list[str] = Field(default_factory=list)
    description: str | None = None
    attribution: str | None = None
    origins: list[Origin] = Field(default_factory=list)
    citation: str | None = None
    tags: list[str] = Field(default_factory=list)
    private: bool | None = None
    tag: str | None = None
    gate: Gate = Field(default_factory=Gate)
    truth: str | None = None
