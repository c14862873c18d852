"""Azure OpenAI: the chat dialect at addresses of its own, with the key in `api-key`."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode, urlunsplit

from pydantic import SecretStr

from smile_async.errors import SettingsError
from smile_async.provider.chat import ENDPOINT
from smile_async.provider.dialect import address, key_header, request_headers

_DATED = re.compile(r"20\d\d-\d\d-\d\d(-preview)?")
_UNDATED = frozenset({"", "v1", "latest", "preview"})


def azure_url(base_url: str, deployment: str, api_version: str, endpoint: str = ENDPOINT) -> str:
    """Where to post to. `base_url` is the resource's address (`https://NAME.openai.azure.com`), or one that already
    ends in `/openai/v1`, in a deployment or in `/chat/completions`.

    A dated `api_version` (2024-10-21) asks at `/openai/deployments/DEPLOYMENT`, any other (empty, v1, preview) at
    `/openai/v1`, where the deployment is named in the body. `endpoint` is what is asked for. Raises `SettingsError`.
    """
    if not (_DATED.fullmatch(api_version) or api_version in _UNDATED):
        raise SettingsError(
            f"api_version {api_version!r} is none of Azure's.",
            hint="It is a date (2024-10-21, 2025-04-01-preview), or nothing for the v1 interface.",
        )
    parts = address(base_url)
    path = parts.path
    if not path.endswith(endpoint):
        path = _path(path.removesuffix(ENDPOINT), deployment, dated=api_version not in _UNDATED) + endpoint
    query = parse_qsl(parts.query)
    if api_version not in {"", "v1"} and "api-version" not in dict(query):
        query.append(("api-version", api_version))
    if "/deployments/" in path and "api-version" not in dict(query):
        raise SettingsError(
            "An Azure deployment's address needs an API version.",
            hint="--api-version 2024-10-21, or export OPENAI_API_VERSION=2024-10-21.",
        )
    return urlunsplit(parts._replace(path=path, query=urlencode(query)))


def azure_headers(api_key: SecretStr | None, more: Mapping[str, str]) -> dict[str, str]:
    return request_headers(key_header("api-key", api_key), more)


def _path(path: str, deployment: str, *, dated: bool) -> str:
    """Everything before `/chat/completions`."""
    if path.endswith("/openai/v1") or "/openai/deployments/" in path:
        return path
    root = path.removesuffix("/openai")
    return f"{root}/openai/deployments/{quote(deployment, safe='')}" if dated else f"{root}/openai/v1"
