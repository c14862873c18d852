"""What is noted with a run beside its rows: what it was started with, and whom it asked, without secrets."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import SecretStr

from smile_async.engine import account, schema
from smile_async.engine.task import Provider
from smile_async.errors import SettingsError
from smile_async.settings import Endpoint
from smile_async.task_note import check_dialogues

Whom = Provider | Endpoint | Sequence[Endpoint]
"""Who is asked: an endpoint of the settings, several that serve the same model, or an object of the caller's."""


def read_notes(folder: Path) -> dict[str, Any]:
    """What a run of dialogues was started with. Raises as `check_dialogues`."""
    with schema.reading(folder) as reader:
        check_dialogues(reader, folder)
        return {key: account.read_meta(reader, key) for key in ("source", "recipe", "endpoint", "options")}


_SECRET = re.compile(r"key|token|secret|password|sig", re.IGNORECASE)


def endpoint_notes(provider: Whom) -> list[dict[str, Any]] | None:
    """The endpoints as they are noted; None where the caller brings a provider."""
    return [_endpoint_note(endpoint) for endpoint in endpoints_of(provider)] or None


def _endpoint_note(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint without its secrets: of headers only the names are kept, of the address no key."""
    note = endpoint.model_dump(mode="json", exclude={"headers"})
    if endpoint.base_url and "?" in endpoint.base_url:
        note["base_url"] = without_key(endpoint.base_url)
    return note | {"header_names": sorted(endpoint.headers)}


def without_key(address: str) -> str:
    """A web address without what in its query looks like a secret."""
    parts = urlsplit(address)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if not _SECRET.search(name)]
    return urlunsplit(parts._replace(query=urlencode(kept)))


def endpoints_of(provider: Whom) -> Sequence[Endpoint]:
    """Those that the settings name; none where the caller brings a provider."""
    if isinstance(provider, Endpoint):
        return [provider]
    return provider if isinstance(provider, Sequence) else []


def noted_endpoints(notes: list[dict[str, Any]] | dict[str, Any], given: Sequence[Endpoint] = ()) -> list[Endpoint]:
    """The endpoints of a run, with the headers of those `given` anew. Raises `SettingsError` when one is missing."""
    headers = {name: value for endpoint in given for name, value in endpoint.headers.items()}
    return [noted_endpoint(note, headers) for note in ([notes] if isinstance(notes, dict) else notes)]


def noted_endpoint(note: dict[str, Any], headers: Mapping[str, SecretStr] | None = None) -> Endpoint:
    """The endpoint of a run, with `headers` given anew. Raises `SettingsError` when one it had is missing."""
    values = {key: value for key, value in note.items() if key != "header_names"}
    missing = [name for name in note["header_names"] if name not in (headers or {})]
    if missing:
        raise SettingsError(
            f"The run was started with the header {missing[0]!r}, whose value is not kept.",
            hint="Give it again: [endpoint.headers] in smile.toml, or provider=Endpoint(...) from Python.",
        )
    kept = {name: value for name, value in (headers or {}).items() if name in note["header_names"]}
    return Endpoint(**values, headers=kept)
