"""What to do after an attempt failed or a reply was rejected: decisions, made by pure functions.

The caller counts, draws the random number and keeps the time; nothing here waits or looks at a clock.
"""

from dataclasses import dataclass

from smile_async.engine.job import FATAL, Failure, FailureKind
from smile_async.settings import RetryPolicy

LONGEST = 31  # failures in a row: waits have reached their longest
STUBBORN = 3  # refusals of one row for rate, while others were answered: then it is asked alone

CONTENT_FILTER = str(FailureKind.CONTENT_FILTER)

ROW_FINAL = frozenset({FailureKind.CONTENT_FILTER, FailureKind.BAD_REQUEST, FailureKind.TOO_LARGE})
"""Kinds that asking the same again cannot mend: the row is set aside at once."""

NOT_THE_ROW = frozenset({FailureKind.RATE_LIMITED, FailureKind.CONNECT})
"""Kinds that say nothing about the row: its budget is untouched, the run's patience ends them. But a row that is
refused for rate again and again, while others are answered, is asked alone, and then it has to answer for it."""

CHARGED = frozenset(FailureKind) - FATAL - ROW_FINAL - NOT_THE_ROW
"""Kinds that a row has `max_failures` of, unless nothing shows that the server answers at all."""

FINAL_REJECTIONS = frozenset({CONTENT_FILTER})
"""Rejection codes that asking again cannot mend."""


@dataclass(frozen=True, slots=True)
class Again:
    """Ask again after `wait` seconds. `everybody`: no request of the run may start before."""

    wait: float
    everybody: bool = False


@dataclass(frozen=True, slots=True)
class SetAside:
    """The row ends here, with this reason code."""

    reason: str


@dataclass(frozen=True, slots=True)
class StopRun:
    """No row can succeed: the run ends here, resumable, and says why."""

    reason: str
    message: str


Decision = Again | SetAside | StopRun

_WHAT_TO_DO = {
    FailureKind.AUTH: "Check the key, and that it may use this model.",
    FailureKind.UNKNOWN_MODEL: "Check the model's name and the server's address.",
    FailureKind.QUOTA_EXHAUSTED: "The account has no credit left: top it up, then go on.",
}


def backoff(failures: int, policy: RetryPolicy, uniform: float) -> float:
    """Seconds to wait after the `failures`-th failure in a row (from 1); `uniform` is random in [0, 1).

    Doubles from `first_wait` to `max_wait`; drawn from the upper half, so that it never degenerates to no wait.
    """
    ceiling = min(policy.max_wait, policy.first_wait * 2.0 ** (min(failures, LONGEST) - 1))
    return ceiling * (0.5 + uniform / 2)


def after_failure(
    failure: Failure, *, charged: int, streak: int, probing: bool, policy: RetryPolicy, uniform: float
) -> Decision:
    """Decide about a row whose attempt brought no reply.

    `charged`: failures that the row has to answer for, this one included; 0 when it is not to blame for this one.
    `streak`: failures of the run since its last reply. `probing`: nothing shows that the server answers.
    The server's own wait wins over the computed one; a wait of 0 is none (it would ask without pause). A row that is
    told to wait beyond the run's patience, it alone, is set aside.
    """
    kind = failure.kind
    if kind in FATAL:
        return StopRun(str(kind), f"{failure.detail or kind}\n  {_WHAT_TO_DO[kind]}")
    if kind in ROW_FINAL:
        return SetAside(str(kind))
    if charged >= policy.max_failures:
        return SetAside(str(kind))
    told = failure.retry_after if failure.retry_after is not None and failure.retry_after > 0 else None
    if (
        kind is FailureKind.RATE_LIMITED and charged
    ):  # it was asked alone: nobody else is meant, and limits are a minute's
        failures = LONGEST
    else:
        failures = max(streak if probing or kind is FailureKind.RATE_LIMITED else charged, 1)
    wait = told if told is not None else backoff(failures, policy, uniform)
    if _concerns_all(kind, charged=charged, told=told, probing=probing, policy=policy):
        return Again(wait, everybody=True)
    return SetAside(str(kind)) if wait > policy.patience else Again(wait)


def _concerns_all(kind: FailureKind, *, charged: int, told: float | None, probing: bool, policy: RetryPolicy) -> bool:
    """Whether everybody has to wait, not only this row."""
    if kind is FailureKind.RATE_LIMITED:
        return not charged or (told is not None and told > policy.patience)
    return probing or (kind is FailureKind.OVERLOADED and told is not None)


def after_rejection(code: str, *, replies: int, policy: RetryPolicy) -> Again | SetAside:
    """Decide about a row whose `replies`-th reply was rejected: at once again, or set aside."""
    spent = policy.max_attempts is not None and replies >= policy.max_attempts
    return SetAside(code) if spent or code in FINAL_REJECTIONS else Again(0.0)
