"""Arguments that a message of a Python function names, as options of a command."""

import re
from collections.abc import Collection

# `labels='voc'`, `out=...`, but neither `a.b=c` nor what is quoted.
ARGUMENT = re.compile(r"""(?<![\w.`'"/=-])([a-z][a-z_]*)=(?:\.\.\.|True|["']([^"']*)["']|([\w./:-]*[\w/:-]))""")
SETTING = re.compile(r"(?<![\w.`'\"/=-])((?:scores|rules|publish)\.[\w.]+=[^\s,;:]*[^\s,;:.])")
OPTION = re.compile(r"`(sds-hf \w+)` (?:and|with) its option `(\w+)`")
PATHS = {"allow_paths(urls=True)": "allow_url=...", "allow_paths": "allow_path=..."}


def with_flags(sentence: str, options: Collection[str]) -> str:
    """A message with the options of a command in place of the arguments of the same names.

    Args:
        sentence: e.g. `choose another out=...`.
        options: of the command, e.g. `--out`; arguments that are none of them stay.
    """

    def flag(match: re.Match[str]) -> str:
        name = f"--{match[1].replace('_', '-')}"
        value = match[2] or match[3]
        return match[0] if name not in options else f"{name} {value}" if value else name

    for name, argument in PATHS.items():
        sentence = sentence.replace(name, argument)
    if "--set" in options:
        sentence = SETTING.sub(r"--set \1", sentence)
    if "--public" in options:
        sentence = sentence.replace("private=False", "--public")
    return ARGUMENT.sub(flag, OPTION.sub(r"`\1 --\2`", sentence))
