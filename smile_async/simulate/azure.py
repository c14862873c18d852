"""The chat dialect as Azure OpenAI serves it: deployments, its own words for errors, its own habits in headers."""

import math
from dataclasses import replace
from typing import Any

import orjson

from smile_async.engine.job import ServerPace
from smile_async.simulate import chat
from smile_async.simulate.behaviour import ApiError, Plan

FILTERED = {"self_harm": {"filtered": True, "severity": "medium"}, "violence": {"filtered": False, "severity": "safe"}}
NO_VERSION = ApiError(404, "Resource not found", "", "404")


def worded(plan: Plan) -> Plan:
    error = plan.error
    if error is None or error.page:
        return plan
    if error.code == "model_not_found":
        error = replace(
            error, code="DeploymentNotFound", message="The API deployment for this resource does not exist."
        )
    elif error.code == "invalid_api_key":
        error = replace(error, code="401", message="Access denied due to invalid subscription key.")
    elif error.status == 429 and error.code == "rate_limit_exceeded":
        error = replace(error, code="429")
    return replace(plan, error=error)


def plan_body(plan: Plan, *, model: str, ident: str, created: int) -> bytes:
    body = chat.plan_body(plan, model=model, ident=ident, created=created)
    if plan.error is not None and plan.error.code == "content_filter":
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": FILTERED}
        return _with(body, "error", innererror=inner)
    if plan.completion is not None and plan.completion.finish_reason == "content_filter":
        return _with(body, "choices", content_filter_results=FILTERED)
    return body


def _with(body: bytes, part: str, **more: Any) -> bytes:
    fields = orjson.loads(body)
    inner = fields[part][0] if isinstance(fields[part], list) else fields[part]
    inner |= more
    return orjson.dumps(fields)


def pace_headers(pace: ServerPace) -> dict[str, str]:
    """Resets are whole seconds, and the length of the window is said."""
    headers = {}
    for word in pace.limits:
        name = word.what.replace("_", "-")
        headers[f"x-ratelimit-limit-{name}"] = str(word.limit)
        headers[f"x-ratelimit-remaining-{name}"] = str(word.remaining)
        headers[f"x-ratelimit-reset-{name}"] = str(math.ceil(word.reset or 0.0))
        headers[f"x-ratelimit-renewalperiod-{name}"] = f"{word.period or 60:g}"
    return headers
