"""YAML that reads back as it was written."""

import re
from typing import Any

import yaml

BREAK = re.compile("[\x85\u2028\u2029]")


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML would take for a line break."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """As it is, or escaped in double quotes."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, '"' if BREAK.search(text) else None)


_Dumper.add_representer(str, _Dumper.represent_text)


def to_yaml(data: Any) -> str:
    """Plain data as YAML, in its order."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text
