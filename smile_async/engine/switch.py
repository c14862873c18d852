"""The switch that steers a run from outside, held by whoever started it."""

from typing import Protocol

from smile_async.engine.events import Pulse
from smile_async.engine.retry import StopRun


class _Stoppable(Protocol):
    def stop(self, why: StopRun) -> None: ...
    def abort(self) -> None: ...
    def pause(self, *, paused: bool) -> None: ...
    def limit_concurrency(self, most: int) -> None: ...
    def pulse(self) -> Pulse: ...


class StopSwitch:
    """Steers a run from outside: hand it in, keep it, call it. `drain` and `abort` leave the run resumable."""

    def __init__(self) -> None:
        self._runner: _Stoppable | None = None
        self._wanted = ""
        self._paused = False
        self._most: int | None = None

    def __repr__(self) -> str:
        return f"<StopSwitch [{self._wanted or 'not pressed'}]>"

    def drain(self) -> None:
        """Start nothing more; wait for what is in flight. Twice is the same as `abort`."""
        if self._wanted:
            self.abort()
            return
        self._wanted = "drain"
        self._apply()

    def abort(self) -> None:
        """Give up what is in flight, too: it may have been billed and will be asked again."""
        self._wanted = "abort"
        self._apply()

    def pause(self) -> None:
        """Start nothing more until `go_on`; what is in flight comes home."""
        self._set_paused(paused=True)

    def go_on(self) -> None:
        self._set_paused(paused=False)

    def limit_concurrency(self, most: int) -> None:
        """From now on at most so many requests in flight, all endpoints together."""
        self._most = most
        if self._runner is not None:
            self._runner.limit_concurrency(most)

    def look(self) -> Pulse | None:
        """The gauges as they stand; None before the run has begun."""
        return None if self._runner is None else self._runner.pulse()

    def connect(self, runner: _Stoppable) -> None:
        self._runner = runner
        if self._paused:
            runner.pause(paused=True)
        if self._most is not None:
            runner.limit_concurrency(self._most)
        self._apply()

    def _set_paused(self, *, paused: bool) -> None:
        self._paused = paused
        if self._runner is not None:
            self._runner.pause(paused=paused)

    def _apply(self) -> None:
        if self._runner is None or not self._wanted:
            return
        if self._wanted == "abort":
            self._runner.abort()
        else:
            self._runner.stop(StopRun("interrupted", "Interrupted: what was in flight has been saved."))
