"""Every dialect of limits and waits in one table each; the clock is a number."""

from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smile_async.engine.job import LimitWord, ServerPace
from smile_async.provider.headers import LONGEST_WAIT, retry_after, server_pace

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
    assert pace.limits[0].reset == (None if seconds is None else pytest.approx(seconds, abs=1e-3))


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
    "anthropic-ratelimit-input-tokens-remaining": "39000",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-18T11:06:42Z",
    "anthropic-ratelimit-output-tokens-limit": "8000",
    "anthropic-ratelimit-output-tokens-remaining": "8000",
    "anthropic-ratelimit-output-tokens-reset": "2026-11-18T11:06:40Z",
}
GROQ = {
    "x-ratelimit-limit-requests": "14400",
    "x-ratelimit-limit-tokens": "18000",
    "x-ratelimit-remaining-requests": "14370",
    "x-ratelimit-remaining-tokens": "17997",
    "x-ratelimit-reset-requests": "2m59.56s",
    "x-ratelimit-reset-tokens": "7.66s",
    "x-groq-region": "fra",
}
CEREBRAS = {
    "x-ratelimit-limit-requests-day": "14400",
    "x-ratelimit-limit-tokens-minute": "60000",
    "x-ratelimit-remaining-requests-day": "14399",
    "x-ratelimit-remaining-tokens-minute": "59000",
    "x-ratelimit-reset-requests-day": "33011.382867097855",
    "x-ratelimit-reset-tokens-minute": "11.382867097854614",
}
MISTRAL = {
    "x-ratelimit-limit-req-minute": "50",
    "x-ratelimit-remaining-req-minute": "49",
    "x-ratelimit-limit-tokens-minute": "50000",
    "x-ratelimit-remaining-tokens-minute": "47300",
    "x-ratelimit-tokens-query-cost": "1300",
}
MISTRAL_BY_SIZE = {
    "ratelimitbysize-limit": "500000",
    "ratelimitbysize-remaining": "498000",
    "ratelimitbysize-reset": "14",
    "ratelimitbysize-query-cost": "2000",
    "x-ratelimitbysize-limit-minute": "500000",
    "x-ratelimitbysize-remaining-minute": "498000",
    "x-ratelimitbysize-limit-month": "1000000000",
    "x-ratelimitbysize-remaining-month": "999998000",
}
TOGETHER = {
    "x-ratelimit-limit": "10",
    "x-ratelimit-remaining": "9",
    "x-ratelimit-reset": "0.5",
    "x-tokenlimit-limit": "3000",
    "x-tokenlimit-remaining": "2800",
    "x-ratelimit-limit-dynamic": "20",
    "x-ratelimit-remaining-dynamic": "19",
}
FIREWORKS = {
    "x-ratelimit-limit-tokens-prompt": "3600000",
    "x-ratelimit-limit-tokens-cache-adjusted-prompt": "900000",
    "x-ratelimit-limit-tokens-generated": "36000",
    "x-ratelimit-remaining-tokens-generated": "35000",
    "x-ratelimit-over-limit": "no",
}
AZURE = {
    "x-ratelimit-limit-requests": "20000",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-requests": "19999",
    "x-ratelimit-remaining-tokens": "1999962",
    "x-ratelimit-renewalperiod-requests": "60",
    "x-ratelimit-renewalperiod-tokens": "10",
    "x-ratelimit-reset-requests": "3",
    "x-ratelimit-reset-tokens": "1",
    "x-ratelimit-key": "gpt-x",
    "x-ratelimit-abusepenalty-active": "False",
}
AZURE_THAT_KNOWS_NOTHING = {
    "x-ratelimit-limit-tokens": "-1",
    "x-ratelimit-remaining-tokens": "-1",
    "x-ratelimit-reset-tokens": "0",
    "x-ratelimit-limit-requests": "0",
    "x-ratelimit-remaining-requests": "0",
}
QIANFAN = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-limit-input-tokens": "100000",
    "x-ratelimit-remaining-input-tokens": "90000",
    "x-ratelimit-limit-output-tokens": "20000",
    "x-ratelimit-remaining-output-tokens": "0",
}


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, []),
        ({"content-type": "application/json"}, []),
        ({"x-ratelimit-policy": "who knows", "x-ratelimit-limit-images": "5"}, []),
        (OPENAI, [("requests", None, 600, 599, 0.1), ("tokens", None, 300_000, 298_800, 0.24)]),
        (
            ANTHROPIC,
            [
                ("requests", 60.0, 50, 49, 1.0),
                ("input_tokens", 60.0, 40_000, 39_000, 2.0),
                ("output_tokens", 60.0, 8_000, 8_000, 0.0),
            ],
        ),
        (GROQ, [("requests", 86_400.0, 14_400, 14_370, 179.56), ("tokens", 60.0, 18_000, 17_997, 7.66)]),
        (
            CEREBRAS,
            [
                ("requests", 86_400.0, 14_400, 14_399, 33_011.382867097855),
                ("tokens", 60.0, 60_000, 59_000, 11.382867097854614),
            ],
        ),
        (MISTRAL, [("requests", 60.0, 50, 49, None), ("tokens", 60.0, 50_000, 47_300, None)]),
        (
            MISTRAL_BY_SIZE,
            [
                ("tokens", 60.0, 500_000, 498_000, 14.0),
                ("tokens", 2_592_000.0, 1_000_000_000, 999_998_000, None),
            ],
        ),
        (
            TOGETHER,
            [
                ("requests", 1.0, 10, 9, 0.5),
                ("tokens", 1.0, 3_000, 2_800, None),
                ("requests", 1.0, 20, 19, None),
            ],
        ),
        (
            FIREWORKS,
            [
                ("input_tokens", 60.0, 3_600_000, None, None),
                ("input_tokens", 60.0, 900_000, None, None),
                ("output_tokens", 60.0, 36_000, 35_000, None),
            ],
        ),
        (AZURE, [("requests", 60.0, 20_000, 19_999, 3.0), ("tokens", 10.0, 2_000_000, 1_999_962, 1.0)]),
        # -1 and 0 are "not known", never "no budget"
        (AZURE_THAT_KNOWS_NOTHING, []),
        ({"x-ratelimit-remaining-requests": "0"}, []),
        ({"x-ratelimit-remaining-requests": "79"}, [("requests", None, None, 79, None)]),  # older Azure
        # 0 beside a limit is used up
        (
            {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"},
            [("requests", None, 60, 0, None)],
        ),
        (
            QIANFAN,
            [
                ("requests", None, 60, None, None),
                ("input_tokens", None, 100_000, 90_000, None),
                ("output_tokens", None, 20_000, 0, None),
            ],
        ),
        # OpenRouter: Unix milliseconds
        (
            {
                "x-ratelimit-limit": "20",
                "x-ratelimit-remaining": "0",
                "x-ratelimit-reset": str(int(NOW + 9) * 1000),
            },
            [("requests", None, 20, 0, 9.0)],
        ),
        # Kong: several periods at once
        (
            {
                "x-ratelimit-limit-second": "5",
                "x-ratelimit-remaining-second": "4",
                "x-ratelimit-limit-hour": "10000",
                "x-ratelimit-remaining-hour": "9600",
                "ratelimit-limit": "5",
                "ratelimit-remaining": "4",
                "ratelimit-reset": "1",
            },
            [
                ("requests", 1.0, 5, 4, None),
                ("requests", 3_600.0, 10_000, 9_600, None),
                ("requests", None, 5, 4, 1.0),
            ],
        ),
        # gateways: a list with a window
        (
            {"x-ratelimit-limit": "100, 100;w=60", "x-ratelimit-remaining": "7"},
            [("requests", 60.0, 100, 7, None)],
        ),
        ({"x-ratelimit-limit-requests": "many"}, []),
        ({"x-ratelimit-limit-requests": "nan", "x-ratelimit-remaining-requests": "inf"}, []),
    ],
)
def test_server_pace(headers: dict[str, str], words: list[tuple[Any, ...]]) -> None:
    pace = server_pace(headers, NOW)

    assert pace == (ServerPace(tuple(LimitWord(*word) for word in words)) if words else None)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        # draft 08 to 11
        (
            {"ratelimit-policy": '"burst";q=100;w=60,"daily";q=1000;w=86400', "ratelimit": '"burst";r=50;t=30'},
            [("requests", 60.0, 100, 50, 30.0), ("requests", 86_400.0, 1_000, None, None)],
        ),
        ({"ratelimit": '"default";r=0;t=5'}, [("requests", None, None, 0, 5.0)]),
        (
            {"ratelimit-policy": '"a, b";q=10;w=1;qu="tokens";pk=:cHNsdGVzdA==:', "ratelimit": '"a, b";r=9'},
            [("tokens", 1.0, 10, 9, None)],
        ),
        ({"ratelimit-policy": '"flight";q=8;qu="concurrent-requests"', "ratelimit": '"flight";r=7'}, []),
        # draft 07
        (
            {"ratelimit-policy": "100;w=60", "ratelimit": "limit=100, remaining=50, reset=5"},
            [("requests", 60.0, 100, 50, 5.0)],
        ),
        # draft 06 and before
        (
            {
                "ratelimit-policy": "10;w=1, 50;w=60",
                "ratelimit-limit": "50",
                "ratelimit-remaining": "49",
                "ratelimit-reset": "50",
            },
            [("requests", 60.0, 50, 49, 50.0)],
        ),
        ({"ratelimit-policy": "10;w=1"}, [("requests", 1.0, 10, None, None)]),
        ({"ratelimit-policy": "", "ratelimit": ";;,,=\"'"}, []),
    ],
)
def test_the_ietfs_fields(headers: dict[str, str], words: list[tuple[Any, ...]]) -> None:
    pace = server_pace(headers, NOW)

    assert pace == (ServerPace(tuple(LimitWord(*word) for word in words)) if words else None)


STRANGE = (
    st.text() | st.integers(-5, 5).map(str) | st.sampled_from(["1;w=0", "7, 7;w=-3", '"a";q=0;w=0;r=1;t=1', "nan"])
)


@given(st.dictionaries(st.sampled_from(["ratelimit", "ratelimit-policy", *AZURE, *ANTHROPIC, *TOGETHER]), STRANGE))
def test_no_header_is_too_strange(headers: dict[str, str]) -> None:
    """Nothing raises, and no number is out of its range."""
    pace = server_pace(headers, NOW)

    for word in pace.limits if pace else ():
        assert word.limit is not None or word.remaining is not None
        assert word.limit is None or word.limit > 0
        assert word.period is None or word.period > 0
        assert (word.remaining or 0) >= 0
        assert 0 <= (word.reset or 0) <= LONGEST_WAIT


def test_what_a_litellm_proxy_hands_on_is_read_where_it_says_nothing_of_its_own() -> None:
    behind = {
        "x-litellm-version": "1.80.0",
        "llm_provider-x-ratelimit-limit-requests": "500",
        "llm_provider-x-ratelimit-remaining-requests": "499",
        "llm_provider-x-ratelimit-reset-requests": "120ms",
    }
    pace = server_pace(behind, NOW)
    assert pace is not None
    assert pace.limits == (LimitWord("requests", None, 500, 499, 0.12),)
    own = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59"}
    pace = server_pace(behind | own, NOW)
    assert pace is not None
    assert pace.limits == (LimitWord("requests", None, 60, 59, None),)
    none = {"x-ratelimit-limit-requests": "None", "x-ratelimit-remaining-requests": "None"}
    assert server_pace(behind | none, NOW) == server_pace(behind, NOW)


def test_what_a_litellm_proxy_leaves_out_is_read_from_what_it_hands_on() -> None:
    """As version 1.106 sends them: the limits again under the usual names, their resets only as the server's. Without
    them 60 in ten seconds would be taken for 60 a minute, and Groq's of a day for a minute's."""
    limits = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"}
    tokens = {"x-ratelimit-limit-tokens": "900", "x-ratelimit-remaining-tokens": "800"}
    behind = {f"llm_provider-{name}": value for name, value in {**limits, "x-ratelimit-reset-requests": "7.5s"}.items()}

    pace = server_pace({**limits, **tokens, **behind}, NOW)
    of_groq = server_pace({**limits, **behind, "llm_provider-x-groq-region": "us"}, NOW)

    assert pace is not None
    assert pace.limits == (LimitWord("requests", None, 60, 0, 7.5), LimitWord("tokens", None, 900, 800, None))
    assert of_groq is not None
    assert of_groq.limits == (LimitWord("requests", 86_400.0, 60, 0, 7.5),)


def test_a_limit_of_the_litellm_proxys_own_stays_its_own() -> None:
    own = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "3"}
    behind = {"llm_provider-x-ratelimit-limit-requests": "500", "llm_provider-x-ratelimit-reset-requests": "1s"}

    pace = server_pace({**own, **behind}, NOW)

    assert pace is not None
    assert pace.limits == (LimitWord("requests", None, 60, 3, None),)
