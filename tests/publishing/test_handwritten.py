"""What people write into a card survives when it is rendered again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reports import make_recipe, make_report
from support.texts import texts

from sds_hf.publishing.card.handwritten import END, START, join_card, keep_by_hand, split_card
from sds_hf.publishing.card.render import render_card

CARD = render_card(make_recipe(), make_report())
HEADINGS = [line for line in CARD.splitlines() if line.startswith("## ")]


def block(text: str) -> str:
    return f"{START}\n{text}\n{END}"


def with_block(card: str, heading: str, text: str) -> str:
    """As a person would: at the start of a section."""
    return card.replace(f"\n{heading}\n", f"\n{heading}\n\n{block(text)}\n", 1)


def sections(card: str) -> dict[str, str]:
    """Text below each heading of the renderer, whatever headings people have in their blocks."""
    found, name, inside, fence = {"": ""}, "", False, ""
    for line in split_card(card)[1].splitlines(keepends=True):
        inside = (inside or line.startswith(START)) and not line.startswith(END)
        if line.startswith("```"):
            fence = "" if fence else "```"
        if line.startswith("## ") and not inside and not fence:
            name = line.strip()
        found[name] = found.get(name, "") + line
    return found


def test_a_card_nobody_wrote_into_is_the_new_one():
    newer = render_card(make_recipe(), make_report(kept=200))
    assert keep_by_hand(CARD, newer) == newer
    assert keep_by_hand("", newer) == newer


@settings(max_examples=20)
@given(heading=st.sampled_from(HEADINGS), text=texts)
def test_sections_stay_where_they_were_written(heading, text):
    text = f"x {text} x".replace("\x85", "").replace("\u2028", "")
    newer = render_card(make_recipe(), make_report(kept=200))
    kept = keep_by_hand(with_block(CARD, heading, text), newer)
    assert block(text) in sections(kept)[heading]
    assert split_card(kept)[0] == split_card(newer)[0]
    without = kept.replace(f"{block(text)}\n\n", "", 1).replace(f"\n\n{block(text)}", "", 1)
    assert without == newer
    assert keep_by_hand(kept, newer) == kept
    assert keep_by_hand(kept, kept) == kept


def test_several_sections_keep_their_order_and_may_have_headings():
    card = with_block(CARD, "## Known limits", "## Results\n\n```\n# no heading\n```")
    card = with_block(card, "## Known limits", "first")
    card = card.replace("\n## Load it\n", f"\n{block('before the first heading')}\n\n## Load it\n")
    kept = keep_by_hand(card, CARD)
    limits = sections(kept)["## Known limits"]
    assert limits.index("first") < limits.index("## Results")
    assert kept.index("before the first heading") < kept.index("## Load it")
    assert keep_by_hand(kept, CARD) == kept


def test_a_section_whose_place_is_gone_comes_last():
    card = with_block(CARD, "## Citation", "cite us too")
    newer = CARD[: CARD.index("## Citation")]
    assert keep_by_hand(card, newer).rstrip().endswith(block("cite us too"))


def test_keys_that_sds_hf_does_not_write_are_kept():
    data, body = split_card(CARD)
    old = join_card(data | {"viewer": False, "extra": {"a": ["no", "é"]}, "language": ["no"], "license": "mit"}, body)
    kept, _ = split_card(keep_by_hand(old, CARD))
    assert kept == data | {"viewer": False, "extra": {"a": ["no", "é"]}}  # language and licence are the recipe's
    assert split_card(keep_by_hand(old.replace("\n", "\r\n"), CARD))[0] == kept


@pytest.mark.parametrize(
    ("old", "said"),
    [
        (f"{START}\nopen", f"has a line {START} without {END}"),
        (f"text\n{END}", f"has a line {END} without {START}"),
        ("---\na: [\n---\n", "YAML of the card cannot be read"),
        ("---\n- a\n---\n", "is a list, not keys with values"),
    ],
)
def test_nothing_is_lost_by_mistake(old, said):
    with pytest.raises(ValueError, match=said) as caught:
        keep_by_hand(old, CARD)
    assert "\n" not in str(caught.value)
