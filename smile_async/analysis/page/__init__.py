"""The report as one HTML file that asks nobody for anything.

A string template and no engine: the file has eight holes, and all that came from outside stands in one of them, as
JSON. The script builds the page from text nodes; the content policy allows that one script and that one style by their
hashes.
"""

import base64
import hashlib
import html
from importlib.resources import files
from string import Template
from typing import Any, Literal

import orjson

Language = Literal["zh", "en", "both"]

SCRIPTS = ("build.js", "charts.js", "sections.js", "page.js")
LANGUAGES: dict[Language, list[int]] = {"en": [0], "zh": [1], "both": [0, 1]}
_BREAKS = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def page_html(told: dict[str, Any], language: Language = "both") -> str:
    """The page of `report.as_json`. `both`: the reader switches, and the browser's language begins."""
    script = "(() => {\n" + "".join(_text(name) for name in SCRIPTS) + "})();\n"  # no name meets one of the browser's
    style = _text("page.css")
    spoken = words()
    data = {**told, "words": spoken, "languages": LANGUAGES[language]}
    return Template(_text("page.html")).substitute(
        language="zh-CN" if language == "zh" else "en",
        policy=policy(script, style),
        of=html.escape(str(told.get("of", ""))),
        title=html.escape(f"{told['name']} · SMILE"),
        style=style,
        script=script,
        noscript=html.escape(" ".join(spoken["noscript"])),
        data=embedded(data),
    )


def words() -> dict[str, list[str]]:
    """What the page and the figures say, by key: in English and in Chinese."""
    found: dict[str, list[str]] = orjson.loads(_text("words.json"))
    return found


def embedded(data: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element or open another."""
    return orjson.dumps(data).decode().translate(_BREAKS)


def policy(script: str, style: str) -> str:
    """Nothing is loaded, nothing sent, and no script or style runs but these two."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _text(name: str) -> str:
    """With LF alone: browsers hash what they parsed, where CRLF has become LF."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")
