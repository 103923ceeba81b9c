"""Texts that people and data may hold, and that could break a card."""

from hypothesis import strategies as st

HARD = [
    *("|", "`", "``", "<b>", "</td>", "<!--", "<script>", "\n", "\n\n", "---", "---\n", "# ", "#", "1. ", "- ", "> "),
    *("[x](y)", "![", "![x](y)", "$$", "~~", "```\n", "&lt;", "&#35;", "\\", "*a*", "_b_", "'", '"', ": ", "!!int "),
    *("https://e.org/a_b|c", "http://", "<https://e.org>", "www.e.org", "me@e.org", "[x]: http://e.org", "javascript:"),
    *(" ", "\x00", "\x85", "\u2028", "ä", "漢", "🐕", "{{x}}", "{% if x %}", "{#", "<!-- sds-hf: keep start -->\n"),
]
bits = st.sampled_from(HARD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
texts = st.lists(bits, max_size=8).map("".join)
