"""What each provider's errors mean, as they were seen on the wire."""

import orjson
import pytest

from smile_async.engine.job import FATAL, FailureKind
from smile_async.provider.masking import masked, without_echo
from smile_async.provider.status import classify

K = FailureKind
QUOTA = "You exceeded your current quota, please check your plan and billing details."
ALIYUN = QUOTA + " For details, see: https://help.aliyun.com/zh/model-studio/error-code#token-limit"


def openai(code: object = None, message: str = "m", kind: str | None = None) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def anthropic(kind: str, message: str = "m") -> bytes:
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})


LOW = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to buy credits."
LIMIT = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, openai("invalid_api_key"), K.AUTH),
        (403, b"", K.AUTH),
        (407, b"", K.AUTH),
        (404, openai("model_not_found"), K.UNKNOWN_MODEL),
        (404, b"<html>not found</html>", K.UNKNOWN_MODEL),
        (400, openai("1211", "模型不存在"), K.UNKNOWN_MODEL),  # Zhipu
        (402, openai("invalid_request_error", "Insufficient Balance"), K.QUOTA_EXHAUSTED),  # DeepSeek
        (429, openai("insufficient_quota", QUOTA, "insufficient_quota"), K.QUOTA_EXHAUSTED),  # OpenAI
        (429, openai(None, "suspended", "exceeded_current_quota_error"), K.QUOTA_EXHAUSTED),  # Moonshot
        (429, openai("1113", "余额不足"), K.QUOTA_EXHAUSTED),  # Zhipu
        (400, openai("Arrearage", "good standing"), K.QUOTA_EXHAUSTED),  # DashScope
        (403, openai("AllocationQuota.FreeTierOnly"), K.QUOTA_EXHAUSTED),  # DashScope
        (403, openai("insufficient_user_quota"), K.QUOTA_EXHAUSTED),  # one-api
        # DashScope's minute of tokens: OpenAI's code and words, its own link or a request id beside the error
        (429, openai("insufficient_quota", ALIYUN, "insufficient_quota"), K.RATE_LIMITED),
        (429, b'{"error":{"code":"insufficient_quota","message":"x"},"request_id":"7"}', K.RATE_LIMITED),
        (429, b'{"code":"Throttling.AllocationQuota","message":"Allocated quota exceeded"}', K.RATE_LIMITED),
        (429, openai("limit_burst_rate", "Request rate increased too quickly"), K.RATE_LIMITED),
        (429, openai("rate_limit_exceeded"), K.RATE_LIMITED),
        (429, b"", K.RATE_LIMITED),
        (429, openai(1302), K.RATE_LIMITED),
        (409, b"", K.RATE_LIMITED),
        (425, b"", K.RATE_LIMITED),
        (429, openai(None, "busy", "engine_overloaded_error"), K.OVERLOADED),  # Moonshot
        (503, b"", K.OVERLOADED),
        (529, b"", K.OVERLOADED),
        (400, openai("content_filter"), K.CONTENT_FILTER),
        (400, b'{"error":{"code":null,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}', K.CONTENT_FILTER),
        (400, openai("1301"), K.CONTENT_FILTER),
        (400, openai("data_inspection_failed"), K.CONTENT_FILTER),
        (400, b'{"code":"DataInspectionFailed","message":"m"}', K.CONTENT_FILTER),
        (500, openai("sensitive_words_detected"), K.CONTENT_FILTER),
        (400, openai(None, "too long"), K.BAD_REQUEST),
        (413, b"", K.BAD_REQUEST),
        (422, b'{"detail":[{"loc":["body"],"msg":"x"}]}', K.BAD_REQUEST),
        (418, b"", K.BAD_REQUEST),
        (308, b"", K.SERVER_ERROR),
        (408, b"", K.TIMEOUT),
        (500, b"[]", K.SERVER_ERROR),
        (502, b"<html>bad gateway</html>", K.GATEWAY),
        (
            500,
            openai("500", "litellm.InternalServerError: OpenAIException - Connection error.\n\nLiteLLM: ..."),
            K.GATEWAY,
        ),
        (500, openai("500", "litellm.InternalServerError: OpenAIException - overheated"), K.SERVER_ERROR),
        # Azure
        (401, openai("401", "Access denied due to invalid subscription key or wrong API endpoint."), K.AUTH),
        (404, openai("DeploymentNotFound", "The API deployment for this resource does not exist."), K.UNKNOWN_MODEL),
        (404, openai("404", "Resource not found"), K.UNKNOWN_MODEL),
        (400, openai("unknown_model"), K.UNKNOWN_MODEL),
        (429, openai("429", "Requests have exceeded call rate limit. Please retry after 3 seconds."), K.RATE_LIMITED),
        (429, openai("RateLimitReached"), K.RATE_LIMITED),
        # Anthropic
        (401, anthropic("authentication_error", "invalid x-api-key"), K.AUTH),
        (403, anthropic("permission_error"), K.AUTH),
        (404, anthropic("not_found_error", "model: claude-0"), K.UNKNOWN_MODEL),
        (429, anthropic("rate_limit_error"), K.RATE_LIMITED),
        (500, anthropic("api_error"), K.SERVER_ERROR),
        (504, anthropic("timeout_error"), K.GATEWAY),
        (529, anthropic("overloaded_error", "Overloaded"), K.OVERLOADED),
        (500, anthropic("overloaded_error", "Overloaded"), K.OVERLOADED),
        (413, anthropic("request_too_large"), K.BAD_REQUEST),
        (400, anthropic("invalid_request_error", "max_tokens: Field required"), K.BAD_REQUEST),
        (400, anthropic("invalid_request_error", LOW), K.QUOTA_EXHAUSTED),
        (400, anthropic("invalid_request_error", LIMIT), K.QUOTA_EXHAUSTED),
        (402, anthropic("billing_error"), K.QUOTA_EXHAUSTED),
        (400, anthropic("invalid_request_error", "Output blocked by content filtering policy"), K.CONTENT_FILTER),
        # what is quoted inside a message decides nothing
        (400, anthropic("invalid_request_error", f"messages.0: {LOW}"), K.BAD_REQUEST),
        (504, b"null", K.GATEWAY),
    ],
)
def test_kind_by_status_and_code(status: int, body: bytes, kind: FailureKind) -> None:
    failure = classify(status, body, {}, 0.0)

    assert (failure.kind, failure.status) == (kind, status)
    assert failure.detail.startswith(f"HTTP {status}")


@pytest.mark.parametrize(
    ("status", "body", "hint"),
    [
        (404, b"<html>", "base_url looks wrong"),
        (
            404,
            b'{"error":{"message":"No route POST /nope/chat/completions"}}',
            "base_url looks wrong",
        ),  # `smile simulate`
        (404, b'{"detail":"Not Found"}', "base_url looks wrong"),  # FastAPI, and so vLLM, of an unknown path
        (404, openai("model_not_found", "no model x"), "does not know the model: no model x"),
        (301, b"", "check base_url"),
        (401, b"", "check the key"),
        (407, b"", "HTTPS_PROXY"),
        (404, openai("404", "Resource not found"), "with Azure the api_version?"),
        (404, openai("DeploymentNotFound", "none"), "no deployment of that name"),
        (404, anthropic("not_found_error", "model: claude-0"), "does not know the model: model: claude-0"),
        (400, anthropic("invalid_request_error", LOW), "the account is empty"),
        (
            400,
            openai(
                "unsupported_parameter", "Unsupported parameter: 'max_tokens' ... Use 'max_completion_tokens' instead."
            ),
            'set max_tokens_field = "max_completion_tokens"',
        ),
        (
            400,
            openai("unsupported_value", "Unsupported value: 'temperature' does not support 0.7 with this model."),
            "set fixed_sampling = true",
        ),
        (
            400,
            openai("unsupported_parameter", "Unsupported parameter: 'top_p' is not supported with this model."),
            "set fixed_sampling = true",
        ),
        (
            400,
            anthropic("invalid_request_error", "`temperature` is deprecated for this model."),
            "set temperature and top_p to 1",
        ),
        (
            400,
            anthropic("invalid_request_error", "`temperature` and `top_p` cannot both be specified for this model."),
            "set temperature or top_p to 1",
        ),
    ],
)
def test_detail_says_what_to_do(status: int, body: bytes, hint: str) -> None:
    assert hint in classify(status, body, {}, 0.0).detail


def test_what_a_filter_found_is_told() -> None:
    found = {"hate": {"filtered": False, "severity": "safe"}, "self_harm": {"filtered": True, "severity": "medium"}}
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": found}
    body = orjson.dumps(
        {"error": {"code": "content_filter", "message": "The response was filtered", "innererror": inner}}
    )

    failure = classify(400, body, {}, 0.0)

    assert failure.kind is K.CONTENT_FILTER
    assert failure.detail == "HTTP 400: filtered: self_harm (medium): The response was filtered"


def test_a_model_that_the_account_may_never_ask_stops_the_run() -> None:
    """Mistral answers 429 for ever, with a limit of 0 requests a minute; Azure's 0 of another name means nothing."""
    failure = classify(429, b"{}", {"x-ratelimit-limit-req-minute": "0"}, 0.0)

    assert failure.kind is K.QUOTA_EXHAUSTED
    assert classify(429, b"{}", {"x-ratelimit-limit-requests": "0"}, 0.0).kind is K.RATE_LIMITED


def test_the_servers_wait_and_pace_come_along() -> None:
    headers = {"retry-after": "3", "x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"}

    failure = classify(429, b"", headers, 0.0)

    assert failure.retry_after == 3.0
    assert failure.pace is not None
    assert failure.pace.limits[0].remaining == 0


def test_fatal_is_what_no_other_row_can_escape() -> None:
    """A filter and a bad request are the row's own; a key, a model and an empty account are everybody's."""
    kinds = {classify(status, b"", {}, 0.0).kind for status in (401, 402, 404)}

    assert kinds == FATAL


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-abc12***************wxyz. Find it at https://x",
        "Authorization: Bearer abcdef123456",
        "proxy http://user:abcdef123456@10.0.0.1:3128 said no",
        "key 0123456789abcdef0123456789abcdef refused",
        "api_key=abcdef123456",
    ],
)
def test_keys_and_passwords_are_masked(text: str) -> None:
    shown = masked(text)

    assert "***" in shown
    assert not any(part in shown for part in ("abc12", "wxyz", "abcdef123456", "0123456789abcdef"))


def test_messages_are_one_line_of_at_most_200_characters() -> None:
    shown = masked("x\n y" * 1_000)

    assert len(shown) == 200
    assert "\n" not in shown


def test_what_a_server_quotes_of_the_request_is_cut_out() -> None:
    """8 characters in a row are an echo; the message around it stays."""
    sent = ["我最近总是睡不好，一闭上眼睛就想起工作。", "second"]

    assert without_echo("输入 '一闭上眼睛就想' 违规", sent) == "输入 '一闭上眼睛就想' 违规"  # 7: too short to tell
    assert without_echo("bad input: 总是睡不好，一闭上眼睛就想起工作 (400)", sent) == "bad input: […] (400)"
    assert without_echo("nothing quoted", sent) == "nothing quoted"


def test_a_word_that_is_in_many_a_prompt_is_no_echo() -> None:
    """OpenAI's words of a wrong key beside a prompt that says "provide": 8 characters alike; what is longer is cut."""
    sent = ["Please provide comfort. I cannot sleep at night."]

    told = "Incorrect API key provided: ***"
    assert without_echo(told, sent) == told
    assert without_echo("rejected: I cannot sleep", sent) == "rejected:[…]"


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (
            429,  # OpenAI
            (
                "Request too large for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Requested 35064. The"
                " input or output tokens must be reduced in order to run successfully."
            ),
            K.TOO_LARGE,
        ),
        (
            413,  # Groq
            (
                "Request too large for model `openai/gpt-oss-120b` in organization `org_x` service tier `on_demand` on tokens"
                " per minute (TPM): Limit 8000, Requested 8391, please reduce your message size and try again."
            ),
            K.TOO_LARGE,
        ),
        (
            429,  # as a gateway hands it on
            "litellm.RateLimitError: RateLimitError: OpenAIException - Limit 30000, Requested 35064.",
            K.TOO_LARGE,
        ),
        (
            429,
            (
                "Rate limit reached for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Used 29800,"
                " Requested 400. Please try again in 400ms."
            ),
            K.RATE_LIMITED,
        ),
    ],
)
def test_what_is_more_than_a_limit_by_itself_need_not_wait_for_it(status: int, message: str, kind: FailureKind) -> None:
    assert classify(status, openai("rate_limit_exceeded", message), {}, 0.0).kind is kind
