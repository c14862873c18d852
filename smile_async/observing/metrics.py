"""The counters of a run for Prometheus, served over HTTP from a thread of its own."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from smile_async.engine.events import Pulse
from smile_async.errors import SettingsError
from smile_async.observing.counters import BUCKETS, Counters
from smile_async.run_folder import UNNAMED

LONGEST = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")


class RunCollector(Collector):
    """Metrics of `counters`, made when they are scraped. Gauges are as of the run's last pulse."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        counters, pulse = self._counters, self._counters.pulse
        yield _counter("smile_rows", "Rows that ended", ("state", "reason"), counters.rows.copy())
        yield _counter(
            "smile_attempts", "Attempts that ended", ("endpoint", "outcome"), _by_name(counters.attempts.copy())
        )
        yield _counter("smile_tokens", "Tokens paid for", ("endpoint", "kind"), _by_name(counters.tokens.copy()))
        yield _counter("smile_spend_usd", "Spent, in US dollars", ("endpoint",), _alone(counters.spend_usd.copy()))
        yield _counter(
            "smile_perhaps_usd",
            "What attempts without a reply may have cost at most, in US dollars",
            ("endpoint",),
            _alone(counters.perhaps_usd.copy()),
        )
        yield _counter("smile_requeued", "Rows to be asked again", ("reason",), _plain(counters.requeued.copy()))
        yield _counter("smile_held", "Cooldowns", ("endpoint",), _alone(counters.holds.copy()))
        yield _counter(
            "smile_rested", "Rests of endpoints that brought no replies", ("endpoint",), _alone(counters.rests.copy())
        )
        yield _counter(
            "smile_limit_changes", "Changes of limits", ("endpoint", "what"), _by_name(counters.changes.copy())
        )
        yield self._durations()
        yield self._run_rows()
        if pulse is not None:
            yield from _gauges(pulse)

    def _durations(self) -> Metric:
        told = HistogramMetricFamily(
            "smile_request_duration_seconds", "From a request's leaving to its end", labels=("endpoint",)
        )
        for endpoint, durations in self._counters.durations.copy().items():
            sums = accumulate(durations.counts)
            told.add_metric((endpoint or UNNAMED,), list(zip(LONGEST, sums, strict=True)), durations.total)
        return told

    def _run_rows(self) -> Metric:
        """Of the whole run, what earlier processes did included."""
        counters = self._counters
        now = dict(counters.before)
        for (state, _), rows in counters.rows.copy().items():
            now[state] += rows
        told = GaugeMetricFamily("smile_run_rows", "Rows of the whole run by state", labels=("state",))
        for state, rows in now.items():
            told.add_metric((state,), rows)
        if counters.total is not None:
            told.add_metric(("pending",), max(counters.total - sum(now.values()), 0))
        return told


def _gauges(pulse: Pulse) -> Iterator[Metric]:
    flight = GaugeMetricFamily("smile_in_flight", "Requests in flight", labels=("endpoint",))
    most = GaugeMetricFamily("smile_concurrency_limit", "Requests that may be in flight", labels=("endpoint",))
    labels = ("endpoint", "what", "period")
    used = GaugeMetricFamily("smile_limit_used", "Used of a limit within its period (seconds)", labels=labels)
    limit = GaugeMetricFamily("smile_limit", "A limit for each period (seconds)", labels=labels)
    for gauge in pulse.gauges:
        endpoint = gauge.endpoint or UNNAMED
        if gauge.period is None:
            flight.add_metric((endpoint,), gauge.used)
            most.add_metric((endpoint,), gauge.limit)
        else:
            names = (endpoint, gauge.what, f"{gauge.period:g}")
            used.add_metric(names, gauge.used)
            limit.add_metric(names, gauge.limit)
    yield from (flight, most, used, limit)
    yield _gauge("smile_cooldown_seconds", "Until a request may start anywhere again", pulse.held)
    yield _gauge("smile_paused", "1 while somebody has paused the run", float(pulse.paused))
    yield _gauge("smile_reserved_usd", "What is in flight may cost at most, in US dollars", pulse.reserved_usd)
    if pulse.budget_usd is not None:
        yield _gauge("smile_budget_usd", "What may be spent, in US dollars", pulse.budget_usd)
    yield _counter("smile_waited_seconds", "Waited before sending, by what for", ("what",), _plain(pulse.waited))


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


Labelled = Mapping[tuple[str, str], float] | Mapping[tuple[str], float]


def _counter(name: str, text: str, labels: Iterable[str], values: Labelled) -> Metric:
    told = CounterMetricFamily(name, text, labels=tuple(labels))
    for label, value in values.items():
        told.add_metric(label, value)
    return told


def _by_name(values: Mapping[tuple[str, str], float]) -> Labelled:
    return {(endpoint or UNNAMED, other): value for (endpoint, other), value in values.items()}


def _alone(values: Mapping[str, float]) -> Labelled:
    return {(endpoint or UNNAMED,): value for endpoint, value in values.items()}


def _plain(values: Mapping[str, float]) -> Labelled:
    return {(name,): value for name, value in values.items()}


@contextmanager
def serving_metrics(counters: Counters, host: str, port: int) -> Iterator[str]:
    """Serve them while the block runs, at the address that is yielded. `port` 0: any that is free.

    Raises `SettingsError` when nobody can listen there.
    """
    registry = CollectorRegistry()
    registry.register(RunCollector(counters))
    ProcessCollector(registry=registry)  # CPU, memory and open files of this process
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise SettingsError(
            f"Metrics cannot be served on {host}, port {port}: {error.strerror or error}.",
            hint="Choose another --metrics-port; 0 takes any that is free.",
        ) from error
    try:
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
