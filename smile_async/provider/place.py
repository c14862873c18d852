"""Where a request goes, and the head it goes with. Pure. What is out of the ordinary has no place here: None."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from smile_async.errors import SettingsError

USER_AGENT = "smile-async"

_URL = re.compile(r"(https?)://((?:[a-z0-9._-]+|\[[0-9a-f:.]+\]))(?::(\d{1,5}))?(/[!-~]*|\?[!-~]*)?", re.IGNORECASE)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads. `label` is host and port as written, `target` path and query."""

    secure: bool
    host: str
    port: int
    label: str
    target: str


def place_of(url: str) -> Place | None:
    """None for what is left to pyreqwest: a user in the address, a fragment, anything but plain ASCII."""
    found = _URL.fullmatch(url)
    if found is None or "#" in url:
        return None
    secure = found[1].lower() == "https"
    port = int(found[3] or (443 if secure else 80))
    if port > 65_535:
        return None
    target = found[4] or "/"
    label = found[2].lower() + (f":{found[3]}" if found[3] else "")
    return Place(secure, found[2].lower().strip("[]"), port, label, target if target[0] == "/" else f"/{target}")


def head_of(place: Place, headers: Mapping[str, str]) -> bytes:
    """Everything up to the value of Content-Length, which comes last. Raises `SettingsError` for a header unfit."""
    fields = {"host": place.label, "user-agent": USER_AGENT, "accept-encoding": "gzip, deflate"}
    fields |= {name.lower(): value.strip() for name, value in headers.items()}
    fields = {name: value for name, value in fields.items() if name not in {"content-length", "transfer-encoding"}}
    for name, value in fields.items():
        if not (_TOKEN.fullmatch(name) and value.isascii() and value.replace("\t", " ").isprintable()):
            raise SettingsError(
                f"The header {name!r:.60} holds a character that HTTP cannot send.", hint="Use printable ASCII."
            )
    lines = [f"POST {place.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "content-length: "]).encode("ascii")
