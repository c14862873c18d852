"""How a kind of server is spoken to: address, headers, body, answer. Pure: no clock, no network."""

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit, urlunsplit

from pydantic import SecretStr

from smile_async.engine.job import Failure, Reply, Request, ServerPace
from smile_async.errors import SettingsError


class Dialect(Protocol):
    """What of a provider depends on whose interface it is; the rest is `server.ServerProvider`'s."""

    @property
    def model(self) -> str:
        """The model that is meant, whatever name routes to it."""
        ...

    @property
    def url(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """All that go with every request, the key among them."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """As `engine.task.Provider.identity`."""
        ...

    def body(self, request: Request) -> bytes: ...

    def read(
        self, body: bytes, headers: Mapping[str, str], now: float, pace: ServerPace | None, host: str
    ) -> Reply | Failure:
        """What the body of a 2xx says."""
        ...


def address(base_url: str) -> SplitResult:
    """The parts of a web address, without a slash at the end. Raises `SettingsError` for what is none."""
    parts = urlsplit(base_url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
        raise SettingsError(f"base_url {shown!r} is no web address.", hint="It looks like https://api.openai.com/v1")
    return parts._replace(path=parts.path.rstrip("/"), fragment="")


def request_headers(own: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """JSON's headers, the dialect's `own`, and `more`, the user's, which win. Raises `SettingsError`."""
    headers = {"content-type": "application/json", "accept": "application/json", **own}
    headers |= {name.lower(): value for name, value in more.items()}
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise SettingsError(
                f"The header {name!r} (or the key in it) holds a character that HTTP cannot send.",
                hint="Was it pasted with a quotation mark or a line break?",
            )
    return headers


def key_header(name: str, api_key: SecretStr | None, *, prefix: str = "") -> dict[str, str]:
    """A key with a stray line break is a key that was pasted: cut, or no request could be sent."""
    key = api_key.get_secret_value().strip() if api_key else ""
    return {name: prefix + key} if key else {}
