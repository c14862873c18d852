"""OpenTelemetry: names and attributes of the GenAI conventions, and that they arrive at a collector."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from smile_async.observing.telemetry import Telemetry, Whom, exporting, whom_of
from smile_async.settings import Prices
from tests.engine.asking import ask_all, rows
from tests.observing.test_counted import ledger_sums, trouble

WHOM = Whom("gpt-4o-mini", "openai", "https://api.example.com/v1")
COMMON = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "server.address": "api.example.com",
    "server.port": 443,
}


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    assert data is not None
    [resource] = data.resource_metrics
    [scope] = resource.scope_metrics
    return {metric.name: list(metric.data.data_points) for metric in scope.metrics}


def test_each_attempt_is_an_operation_with_its_duration_tokens_and_error(tmp_path: Path) -> None:
    reader = InMemoryMetricReader()
    ask_all(
        tmp_path, rows(50), trouble(), prices=Prices(input=1.0, output=2.0),
        listener=Telemetry(lambda _name: WHOM, MeterProvider([reader])),
    )  # fmt: skip
    told, sums = points(reader), ledger_sums(tmp_path)
    durations = {tuple(sorted(point.attributes.items())): point for point in told["gen_ai.client.operation.duration"]}

    def key(**more: str) -> tuple[Any, ...]:
        return tuple(sorted((COMMON | {name.replace("_", ".", 1): value for name, value in more.items()}).items()))

    good = durations[tuple(sorted((COMMON | {"gen_ai.response.model": "served-2"}).items()))]
    assert good.count == sums["accepted"]
    assert good.sum == pytest.approx(50.0, abs=0.01)  # each took a second
    assert durations[key(error_type="timeout")].count == sums["timeout"]
    assert durations[key(error_type="server-error")].count == sums["server-error"]
    tokens: dict[Any, float] = {}
    for point in told["gen_ai.client.token.usage"]:
        kind = point.attributes["gen_ai.token.type"]
        tokens[kind] = tokens.get(kind, 0) + point.sum
    assert tokens == {"input": sums["prompt"], "output": sums["completion"]}
    assert [point.value for point in told["smile.rows"]] == [50]
    assert [point.value for point in told["smile.spend"]] == [pytest.approx(sums["spent"])]


def test_spans_hold_row_attempt_and_length_and_no_text(tmp_path: Path) -> None:
    spans, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    ask_all(tmp_path, rows(10), trouble(), listener=Telemetry(lambda _name: WHOM, MeterProvider(), tracers))
    told = spans.get_finished_spans()
    assert len(told) == 13
    assert {span.name for span in told} == {"chat gpt-4o-mini"}
    assert {span.kind for span in told} == {SpanKind.CLIENT}
    assert sum(span.status.status_code is StatusCode.ERROR for span in told) == 2
    for span in told:
        assert span.end_time is not None
        assert span.start_time is not None
        assert span.end_time - span.start_time == pytest.approx(1e9, rel=1e-3)
        assert set(span.attributes or {}) >= {"smile.row", "smile.attempt", *COMMON}
        assert "good" not in str(span.attributes)


@pytest.mark.parametrize(
    ("whom", "name"),
    [
        (Whom("m", "openai", "https://api.openai.com/v1"), "openai"),
        (Whom("m", "openai", "https://api.deepseek.com"), "deepseek"),
        (Whom("m", "openai", "https://notdeepseek.com"), "openai"),
        (Whom("m", "azure", "https://mine.openai.azure.com"), "azure.ai.openai"),
        (Whom("m", "anthropic", "https://api.anthropic.com"), "anthropic"),
    ],
)
def test_providers_have_the_names_of_the_convention(whom: Whom, name: str) -> None:
    assert whom.attributes()["gen_ai.provider.name"] == name


@contextmanager
def collector() -> Iterator[tuple[str, dict[str, list[bytes]]]]:
    """What an OTLP collector would be sent, by path."""
    got: dict[str, list[bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.setdefault(self.path, []).append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_all_of_it_leaves_for_the_collector_by_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (address, got):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
        with exporting(whom_of(tmp_path)) as telemetry:
            ask_all(tmp_path, rows(20), trouble(), listener=telemetry)
    metrics = ExportMetricsServiceRequest.FromString(got["/v1/metrics"][-1])
    [resource] = metrics.resource_metrics
    assert {pair.key: pair.value.string_value for pair in resource.resource.attributes}["service.name"] == "smile"
    names = {metric.name for metric in resource.scope_metrics[0].metrics}
    assert names >= {"gen_ai.client.operation.duration", "gen_ai.client.token.usage", "smile.rows"}
    spans = [
        span
        for body in got["/v1/traces"]
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource_spans.scope_spans
        for span in scope.spans
    ]
    assert len(spans) == 26
    assert {span.name for span in spans} == {"chat scripted"}
