"""What may be shown of a foreign message: no key, no proxy password, no text of the request."""

import re
from collections.abc import Sequence

SHOWN = 200  # characters of a foreign message that are kept
ECHO = 8  # characters in a row that a message shares with the request before they count as an echo
ECHO_ASCII = 12  # the same, where they are letters and blanks of ours: " provide" is in many a prompt

_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+\S+")
_PREFIXED_KEY = re.compile(r"(?i)\b(?:sk|pk|ak|gsk|xai|key|api[-_]?key|token)[-_:=][\w*.\-]{6,}")
_LONG_TOKEN = re.compile(r"(?<![\w\-/.])(?=[\w\-]*\d)(?=[\w\-]*[A-Za-z])[A-Za-z0-9_\-]{24,}")


def masked(text: str) -> str:
    """`text` on one line, at most `SHOWN` characters, with whatever looks like a key or a password replaced.

    What is not printable goes: a server's message must not command the reader's terminal.
    """
    flat = "".join(one for one in " ".join(text[: 20 * SHOWN].split()) if one.isprintable())
    flat = _CREDENTIALS.sub("***@", flat)
    flat = _BEARER.sub(r"\1 ***", flat)
    flat = _LONG_TOKEN.sub("***", _PREFIXED_KEY.sub("***", flat))
    return flat if len(flat) <= SHOWN else flat[: SHOWN - 1] + "…"


def without_echo(message: str, sent: Sequence[str]) -> str:
    """`message` with every run of at least `ECHO` (`ECHO_ASCII`) characters cut out that stands in a text of `sent`.

    Servers quote the prompt in their errors; the prompt holds people's troubles, so the comparison is with what was
    really sent instead of with a guess at what a prompt looks like. Whitespace does not hide an echo.
    """
    haystack = "\n".join(" ".join(text.split()) for text in sent)
    kept: list[str] = []
    at = 0
    while at < len(message):
        length = _shared(message, at, haystack)
        kept.append("[…]" if length else message[at])
        at += length or 1
    return "".join(kept)


def _shared(message: str, at: int, haystack: str) -> int:
    """How many characters from `at` on stand in `haystack`; 0 when too few to be an echo."""
    end = at + (ECHO_ASCII if message[at : at + ECHO].isascii() else ECHO)
    if end > len(message) or message[at:end] not in haystack:
        return 0
    while end < len(message) and message[at : end + 1] in haystack:
        end += 1
    return end - at
