"""Every dialect of limits and waits in one table each; the clock is a number."""

from email.utils import formatdate

import pytest

from smile_async.engine.job import ServerPace
from smile_async.provider.headers import retry_after, server_pace

NOW = 1_795_000_000.0  # 2026-11-18T11:06:40Z


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0.0),  # past: now
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "999999999"}, None),  # 31 years: a mistake
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),  # the finer one
        ({"x-ms-retry-after-ms": "250", "retry-after": "1"}, 0.25),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1m30s", 90.0),
        ("500ms", 0.5),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("1d", 86_400.0),
        ("8.64s", 8.64),
        ("12", 12.0),
        ("0", 0.0),
        ("2026-11-18T11:06:50Z", 10.0),
        ("2026-11-18T19:06:50+08:00", 10.0),
        (str(NOW + 7), 7.0),  # Unix seconds
        (str(int((NOW + 7) * 1000)), 7.0),  # Unix milliseconds (OpenRouter)
        ("-1", 0.0),
        ("later", None),
        ("5 apples", None),
        ("", None),
    ],
)
def test_resets(text: str, seconds: float | None) -> None:
    pace = server_pace({"x-ratelimit-limit-requests": "60", "x-ratelimit-reset-requests": text}, NOW)

    assert pace is not None
    assert pace.requests_reset == (None if seconds is None else pytest.approx(seconds, abs=1e-3))


OPENAI = {
    "x-ratelimit-limit-requests": "600",
    "x-ratelimit-remaining-requests": "599",
    "x-ratelimit-reset-requests": "100ms",
    "x-ratelimit-limit-tokens": "300000",
    "x-ratelimit-remaining-tokens": "298800",
    "x-ratelimit-reset-tokens": "240ms",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2026-11-18T11:06:41Z",
    "anthropic-ratelimit-input-tokens-limit": "40000",
}


@pytest.mark.parametrize(
    ("headers", "pace"),
    [
        ({}, None),
        ({"content-type": "application/json"}, None),
        ({"x-ratelimit-policy": "who knows"}, None),
        (OPENAI, ServerPace(600, 599, 0.1, 300_000, 298_800, 0.24)),
        (ANTHROPIC, ServerPace(50, 49, 1.0)),
        # Azure: -1 and 0 are "not known", never "no budget"
        ({"x-ratelimit-limit-requests": "-1", "x-ratelimit-remaining-requests": "-1"}, None),
        ({"x-ratelimit-limit-tokens": "0", "x-ratelimit-remaining-tokens": "0"}, None),
        ({"x-ratelimit-remaining-requests": "0"}, None),
        # 0 beside a limit is used up
        ({"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"}, ServerPace(60, 0)),
        # gateways: a generic name, a list with a window
        ({"x-ratelimit-limit": "100, 100;w=60", "x-ratelimit-remaining": "7"}, ServerPace(100, 7)),
        ({"x-ratelimit-limit-requests": "many"}, None),
    ],
)
def test_server_pace(headers: dict[str, str], pace: ServerPace | None) -> None:
    assert server_pace(headers, NOW) == pace
