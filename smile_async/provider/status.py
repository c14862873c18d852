"""What an answer that is no 200 means: status and error body to a kind of failure. Pure.

The kind alone decides what happens next, and providers disagree about statuses, so their own codes come first.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from smile_async.engine.job import Failure, FailureKind
from smile_async.provider.headers import retry_after, server_pace
from smile_async.provider.masking import masked

_LIMIT_AND_REQUESTED = re.compile(r"\blimit:? (\d{1,12}),(?: used:? \d{1,12},)? requested:? (\d{1,12})\b")
_FILTERS = frozenset({
    "content_filter",  # OpenAI, Azure
    "responsibleaipolicyviolation",  # Azure, the inner code
    "content_policy_violation",
    "1301",  # Zhipu
    "data_inspection_failed",  # DashScope, OpenAI-compatible
    "datainspectionfailed",  # DashScope, its own interface
    "sensitive_words_detected",  # one-api and new-api gateways, sometimes as a 500
    "sensitivecontentdetected",  # Volcengine Ark
    "inputtextsensitivecontentdetected",
    "outputtextsensitivecontentdetected",
})  # fmt: skip
_OUT_OF_MONEY = frozenset({
    "insufficient_quota",  # OpenAI; DashScope's token throttle says the same, see _only_throttled
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",  # Anthropic, as a 402
    "insufficient_balance",
    "insufficient_user_quota",  # one-api gateways, as a 403
    "exceeded_current_quota_error",  # Moonshot: the account is empty
    "arrearage",  # DashScope
    "allocationquota.freetieronly",  # DashScope: the free tokens are used up
    "1113",  # Zhipu: the account is in arrears
})  # fmt: skip
_THROTTLED = frozenset({
    "rate_limit_exceeded",
    "rate_limit_error",  # Anthropic
    "rate_limit_reached_error",
    "ratelimitreached",  # Azure
    "throttling",
    "throttling.ratequota",
    "throttling.burstrate",
    "throttling.allocationquota",
    "limit_requests",
    "limit_burst_rate",
    "1302",  # Zhipu: too many at once
    "1303",  # Zhipu: too many a minute
    "1304",  # Zhipu: today's calls are used up
})  # fmt: skip
_OVERLOADED = frozenset({"engine_overloaded_error", "overloaded_error", "server_overloaded", "1305"})
_NO_DEPLOYMENT = "deploymentnotfound"  # Azure
_NO_MODEL = frozenset({
    "model_not_found",
    "modelnotfound",
    "invalidendpointormodel.notfound",
    "unknown_model",  # Azure
    _NO_DEPLOYMENT,
    "1211",  # Zhipu
})  # fmt: skip

_BY_CODE = (
    (_FILTERS, FailureKind.CONTENT_FILTER),
    (_OUT_OF_MONEY, FailureKind.QUOTA_EXHAUSTED),
    (_OVERLOADED, FailureKind.OVERLOADED),
    (_THROTTLED, FailureKind.RATE_LIMITED),
    (_NO_MODEL, FailureKind.UNKNOWN_MODEL),
)
_BY_BEGINNING = (  # of messages that Anthropic sends as a 400 invalid_request_error like any other
    ("your credit balance is too low", FailureKind.QUOTA_EXHAUSTED),
    ("you have reached your specified", FailureKind.QUOTA_EXHAUSTED),  # API usage limits, of one's own setting
    ("output blocked by content filtering policy", FailureKind.CONTENT_FILTER),
)
_BY_STATUS = {
    401: FailureKind.AUTH,
    402: FailureKind.QUOTA_EXHAUSTED,
    403: FailureKind.AUTH,
    404: FailureKind.UNKNOWN_MODEL,
    407: FailureKind.AUTH,
    408: FailureKind.TIMEOUT,
    409: FailureKind.RATE_LIMITED,
    425: FailureKind.RATE_LIMITED,
    429: FailureKind.RATE_LIMITED,
    502: FailureKind.GATEWAY,
    503: FailureKind.OVERLOADED,
    504: FailureKind.GATEWAY,
    529: FailureKind.OVERLOADED,
}
_HINTS = {
    401: "check the key",
    402: "the account is empty",
    403: "the key may not use this model or address",
    407: "the proxy wants a user and password: put them into HTTPS_PROXY",
}
_KIND_HINTS = {
    FailureKind.QUOTA_EXHAUSTED: "the account is empty or its quota used up",
    FailureKind.TOO_LARGE: "the request alone is more than this endpoint's limit of tokens",
}
_NO_SUCH_PATH = frozenset({"", "not found", "resource not found"})  # no JSON, FastAPI's answer (vLLM), Azure's
_NO_ROUTE = ("no route", "cannot post", "404 page not found", "unknown request url")  # ours, Express, Go, OpenAI
_MODEL_HINT = "the server does not know the model"
_DEPLOYMENT_HINT = "the resource has no deployment of that name (deployment, or model where that is not set)"
_ADDRESS_HINT = (
    "base_url looks wrong, nothing answers at that address (a missing /v1? the provider? with Azure the api_version?)"
)
_PARAMETER_HINTS = (  # words of the refusal, what to do
    (("max_completion_tokens",), 'set max_tokens_field = "max_completion_tokens" for this endpoint'),
    (("temperature", "deprecated"), "set temperature and top_p to 1, which is then not sent"),  # Anthropic
    (("temperature", "top_p", "both"), "set temperature or top_p to 1, which is then not sent"),  # Anthropic
    (("temperature", "unsupported"), "set fixed_sampling = true for this endpoint"),
    (("top_p", "unsupported"), "set fixed_sampling = true for this endpoint"),
)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """An error as the server told it, in whichever shape; `codes` are lower case, its code and type and inner code;
    `filtered` is what a content filter found."""

    codes: frozenset[str]
    message: str = ""
    of_dashscope: bool = False
    filtered: str | None = None


def classify(status: int, body: bytes, headers: Mapping[str, str], now: float) -> Failure:
    """`now` is the wall clock, for a `retry-after` that is a date. Pass answers that are no 2xx.

    `detail` is the status, what to do about it, and the server's own message: one line, at most 200 characters of it,
    keys masked. The caller cuts out what the server quotes of the request (`masking.without_echo`).
    """
    return classify_error(status, error_body(body), headers, now)


def classify_error(status: int, error: ErrorBody, headers: Mapping[str, str], now: float) -> Failure:
    kind = _kind(status, error)
    detail = _detail(status, kind, error)
    if status == 429 and headers.get("x-ratelimit-limit-req-minute") == "0":  # Mistral: waiting will not help
        kind, detail = FailureKind.QUOTA_EXHAUSTED, f"HTTP {status}: this account may not ask this model at all"
    return Failure(
        kind,
        detail=detail,
        status=status,
        retry_after=retry_after(headers, now),
        pace=server_pace(headers, now),
    )


def error_body(body: bytes) -> ErrorBody:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ErrorBody(frozenset())
    return read_error(found)


def read_error(found: Any) -> ErrorBody:
    """From any of the shapes in use: OpenAI and Anthropic `{"error": {...}}`, Azure with an `innererror` in it, Ollama
    `{"error": "..."}`, DashScope and SiliconFlow `{"code", "message"}`, FastAPI `{"detail": ...}`, Google's list of
    one."""
    outer = found[0] if isinstance(found, list) and found else found
    if not isinstance(outer, dict):
        return ErrorBody(frozenset())
    inner = outer.get("error") or outer.get("detail") or outer
    if not isinstance(inner, dict):
        inner = {"message": inner}
    deeper = inner.get("innererror")
    deeper = deeper if isinstance(deeper, dict) else {}
    codes = [inner.get("code"), inner.get("type"), deeper.get("code")]
    message = inner.get("message") or inner.get("msg")
    return ErrorBody(
        codes=frozenset(str(code).lower() for code in codes if isinstance(code, (str, int))),
        message=message if isinstance(message, str) else "",
        of_dashscope="request_id" in outer and "error" in outer and outer.get("type") != "error",  # or Anthropic's
        filtered=filtered_categories(deeper.get("content_filter_result") or deeper.get("content_filter_results")),
    )


def filtered_categories(results: Any) -> str | None:
    """Azure's categories that were filtered, with their severity: `self_harm (medium)`."""
    if not isinstance(results, dict):
        return None
    found = [
        str(category) + (f" ({result['severity']})" if result.get("severity") else "")
        for category, result in results.items()
        if isinstance(result, dict) and result.get("filtered")
    ]
    return masked(", ".join(found)) if found else None


def _kind(status: int, error: ErrorBody) -> FailureKind:
    if status in {413, 429} and _never_fits(error.message.lower()):
        return FailureKind.TOO_LARGE
    for codes, kind in _BY_CODE:
        if error.codes & codes:
            throttled = kind is FailureKind.QUOTA_EXHAUSTED and _only_throttled(status, error)
            return FailureKind.RATE_LIMITED if throttled else kind
    told = error.message.lower()
    if status == 400:
        for beginning, kind in _BY_BEGINNING:
            if told.startswith(beginning):
                return kind
    if status == 500 and told.startswith("litellm.") and "connection error" in told:
        return FailureKind.GATEWAY  # the proxy lost the server behind it, perhaps after that had answered
    # A redirect is not followed (keys would go elsewhere), and is no word about the row.
    of_the_row = 400 <= status < 500
    return _BY_STATUS.get(status, FailureKind.BAD_REQUEST if of_the_row else FailureKind.SERVER_ERROR)


def _never_fits(told: str) -> bool:
    """The request alone is more than the limit of a minute: OpenAI (429) and Groq (413) say "Request too large for
    <model> ... on tokens per min (TPM): Limit 30000, Requested 35064", in the words in which they say, of one that
    only has to wait, "Rate limit reached for <model> ... Limit 30000, Used 29800, Requested 400"."""
    if told.startswith("request too large"):
        return True
    numbers = _LIMIT_AND_REQUESTED.search(told)
    return numbers is not None and int(numbers[2]) > int(numbers[1])


def _only_throttled(status: int, error: ErrorBody) -> bool:
    """DashScope answers a used-up minute of tokens with OpenAI's code and words for an empty account; what differs is
    its link (help.aliyun.com/.../model-studio/error-code#token-limit) and the request id beside the error."""
    if status != 429 or "insufficient_quota" not in error.codes:
        return False
    told = error.message.lower()
    return error.of_dashscope or any(sign in told for sign in ("#token-limit", "model-studio", "aliyun"))


def _detail(status: int, kind: FailureKind, error: ErrorBody) -> str:
    parts = [f"HTTP {status}"]
    hint = _hint(status, kind, error)
    if hint:
        parts.append(hint)
    if error.filtered:
        parts.append(f"filtered: {error.filtered}")
    if error.message:
        parts.append(masked(error.message))
    return ": ".join(parts)


def _hint(status: int, kind: FailureKind, error: ErrorBody) -> str:
    if 300 <= status < 400:
        return "the server sends us elsewhere; check base_url (https instead of http, or a missing /v1?)"
    if _NO_DEPLOYMENT in error.codes:
        return _DEPLOYMENT_HINT
    if kind is FailureKind.UNKNOWN_MODEL:
        told = error.message.lower()
        return _ADDRESS_HINT if told in _NO_SUCH_PATH or told.startswith(_NO_ROUTE) else _MODEL_HINT
    if kind in _KIND_HINTS:
        return _KIND_HINTS[kind]
    if kind is FailureKind.BAD_REQUEST:
        return _parameter_hint(error.message.lower())
    return _HINTS.get(status, "") if kind is _BY_STATUS.get(status) else ""


def _parameter_hint(told: str) -> str:
    return next((hint for words, hint in _PARAMETER_HINTS if all(word in told for word in words)), "")
