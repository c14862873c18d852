"""What a request has to be, and when one may leave: amended ones, pauses, told concurrency, Ctrl-C."""

from collections.abc import Iterable, Sequence

from smile_async.engine.job import Reply
from smile_async.engine.retry import ROW_FINAL
from tests.simulation.scenario import Life, Scenario
from tests.simulation.server import REPLY, Send
from tests.simulation.work import amended_request, judge

UNDER_WAY = 0.0102  # seconds: who was admitted before leaves with the next commit

FINAL = frozenset(map(str, ROW_FINAL))


def check_what_is_asked(scenario: Scenario, rules: str, where: str, asked: Sequence[Send]) -> list[str]:
    """The requests of one row by one process: after the first rejected reply that can be amended comes the amended
    request, once answered never again. Returns how each was amended, "" for plain ones."""
    plain: tuple[tuple[str, ...], int | None] = ((), scenario.max_tokens)
    wanted, step, given, steps = plain, "", False, []
    for place, send in enumerate(asked):
        found = (send.asked[0], send.asked[1] if scenario.max_tokens else None)  # else a budget may bound it
        assert found == wanted, (
            f"amended: {where}: request {place + 1} should be {step or 'plain'}, and is another "
            f"({len(send.asked[0])} more messages, max_tokens {send.asked[1]})"
        )
        steps.append(step)
        if send.got != REPLY:
            if send.got in FINAL:  # the row's own request was not refused
                wanted, step = plain, ""
            continue
        code = judge(rules, send.text, send.finish_reason, send.refusal)
        reply = Reply(send.text, send.finish_reason, refusal=send.refusal)
        amended = None
        if code and not given:
            amended = amended_request(scenario.amends, scenario.max_tokens, send.row, reply, code)
        wanted, step = plain, ""
        if amended is not None:
            request, step, given = amended.request, amended.step, True
            wanted = (tuple([message.content for message in request.messages[1:]]), request.max_tokens)
    return steps


def check_orders(life: Life, began: float, sends: Sequence[Send]) -> None:
    """Nothing leaves while the run is paused, or after it was told to stop, nor more at once than it was told."""
    if life.stalls:
        return  # who stands still hears nothing
    for since, until in _pauses(life):
        early = [send for send in sends if began + since + UNDER_WAY < send.at < began + until]
        assert not early, f"paused: row sent at {early[0].at - began:.3f} s, between {since:.3f} and {until:.3f}"
    if life.stop is not None:
        what, seconds = life.stop
        late = [send for send in sends if send.at > began + seconds + UNDER_WAY]
        assert not late, f"stopped: row sent at {late[0].at - began:.3f} s, after {what} at {seconds:.3f}"
    for at, most in life.steering:
        if isinstance(most, int):
            more = _more_than(most, [send for send in sends if send.got], began + at + UNDER_WAY)
            assert more is None, f"steered: {more} in flight after {most} were allowed at {at:.3f} s"


def _pauses(life: Life) -> Iterable[tuple[float, float]]:
    pauses = [at for at, what in life.steering if what == "pause"]
    ends = [at for at, what in life.steering if what == "go-on"]
    return zip(pauses, ends, strict=True)


def _more_than(most: int, sends: Sequence[Send], since: float) -> int | None:
    """How many were under way as one left after `since`, if they were more than `most`."""
    steps = sorted([(send.ended, 0, 0.0) for send in sends] + [(send.at, 1, send.at) for send in sends])
    under_way = 0
    for _, leaves, at in steps:
        under_way += 1 if leaves else -1
        if leaves and at > since and under_way > most:
            return under_way
    return None
