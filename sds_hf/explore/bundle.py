"""The page's built files, and one file that holds page and data. Sources and the build command lie in `page/`."""

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

NAMES = ("index.html", "page.css", "page.js")
POLICY = (  # of a page that is served: nothing runs but the page's own file
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def page_file(name: str) -> bytes:
    """One of `NAMES`."""
    return (files("sds_hf") / "explore" / "bundle" / name).read_bytes()


def one_file(config: dict[str, Any]) -> str:
    """A page that holds its data and needs no network; its policy lets nothing run but the script with this digest."""
    script, style = page_file("page.js").decode(), page_file("page.css").decode()
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src blob: data:; "
        "connect-src data:; base-uri 'none'; form-action 'none'"
    )
    # Within a script element only these letters could end it.
    data = json.dumps(config, ensure_ascii=True).replace("<", "\\u003c")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<link rel="icon" href="data:,">
<title>sds-hf</title>
<style>{style}</style>
</head>
<body>
<div id="page"><p class="loading" role="status">Reading the scores …</p></div>
<noscript>This page needs JavaScript.</noscript>
<script type="application/json" id="explore-data">{data}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def data_url(kind: str, data: bytes) -> str:
    """Bytes as an address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def short_digest(text: str) -> str:
    """What tells a text from others, as the name of a folder."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
