"""The kinds of failure, by themselves: a ledger is read without the values that travel through a run."""

from enum import StrEnum


class FailureKind(StrEnum):
    """Why an attempt brought no reply. The kind alone decides what happens next (`engine/retry.py`)."""

    RATE_LIMITED = "rate-limited"  # 429: not billed, wait and ask again
    OVERLOADED = "overloaded"  # 503, 529
    SERVER_ERROR = "server-error"  # other 5xx
    GATEWAY = "gateway-error"  # 502, 504: who stands before the server had no answer of it: perhaps billed
    CONNECT = "connect"  # no connection: nothing was sent, nothing billed
    DISCONNECTED = "disconnected"  # the connection died after the request left: perhaps billed
    TIMEOUT = "timeout"  # no answer in time: perhaps billed
    BROKEN_BODY = "broken-body"  # 200 whose body is no answer: billed, most likely
    CONTENT_FILTER = "content-filter"  # the provider's filter refused this row: final for the row
    BAD_REQUEST = "bad-request"  # 400, 413, 422: this request is wrong; final for the row
    TOO_LARGE = "too-large"  # 429 or 413 "Request too large": this row alone exceeds a limit; final for the row there
    AUTH = "auth"  # 401, 403: final for the run
    UNKNOWN_MODEL = "unknown-model"  # 404: final for the run
    QUOTA_EXHAUSTED = "quota-exhausted"  # 402, or 429 with insufficient_quota: final for the run


FATAL = frozenset({FailureKind.AUTH, FailureKind.UNKNOWN_MODEL, FailureKind.QUOTA_EXHAUSTED})
"""Kinds that no other row can escape: the run stops at once and says why."""

PERHAPS_BILLED = frozenset({
    FailureKind.DISCONNECTED, FailureKind.TIMEOUT, FailureKind.BROKEN_BODY, FailureKind.GATEWAY
})  # fmt: skip
"""Kinds after which the server may have charged for an answer that never arrived. A gateway that gave up (504) or lost
the server (502) says nothing of what the server did meanwhile."""


REFUSED = frozenset({FailureKind.RATE_LIMITED, FailureKind.TOO_LARGE})
"""Kinds of what no limit of the server counts."""
