"""A run for OpenTelemetry, by its conventions for generative AI: metrics of each attempt, and spans where asked for.

Where they go is said by the standard's own environment variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, ...). Spans are made
only where `OTEL_TRACES_SAMPLER` says which: one for each of a million attempts is seldom wanted.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

from smile_async.engine import account, events, schema
from smile_async.observing.counters import Counters
from smile_async.run_folder import UNNAMED

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider as Tracers

SCOPE = "smile_async"
SAMPLER = "OTEL_TRACES_SAMPLER"
DURATIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68)
"""Seconds: what the convention advises, and two more for answers as long as a dialogue."""
TOKENS = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864)
PROVIDERS = {"azure": "azure.ai.openai", "anthropic": "anthropic", "local": "llama_cpp"}
HOSTS = {"deepseek.com": "deepseek", "groq.com": "groq", "mistral.ai": "mistral_ai", "x.ai": "x_ai",
         "perplexity.ai": "perplexity", "cohere.com": "cohere", "generativelanguage.googleapis.com": "gcp.gemini",
         "aiplatform.googleapis.com": "gcp.vertex_ai"}  # fmt: skip
"""Who speaks OpenAI's interface under a name of its own in the convention."""

Attributes = dict[str, str | int]


@dataclass(frozen=True, slots=True)
class Whom:
    """Who is asked at one endpoint, as the settings say it."""

    model: str = ""
    provider: str = "openai"
    base_url: str = ""

    def attributes(self) -> Attributes:
        """What the convention wants to be said of every operation there."""
        address = urlsplit(self.base_url)
        host = address.hostname or ""
        known = [name for domain, name in HOSTS.items() if host == domain or host.endswith("." + domain)]
        said: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": PROVIDERS.get(self.provider) or (known[0] if known else self.provider),
        }
        if self.model:
            said["gen_ai.request.model"] = self.model
        if host:
            said["server.address"] = host
            said["server.port"] = address.port or (80 if address.scheme == "http" else 443)
        return said


def whom_of(run: Path) -> Callable[[str], Whom]:
    """Who is asked at each endpoint of a run, by name, as the run has noted it; read when it is first asked for."""
    known: dict[str, Whom] = {}

    def whom(name: str) -> Whom:
        if not known:
            known.update(_noted(run))
        return known.get(name) or known.get(name.partition("#")[0]) or next(iter(known.values()))

    return whom


def _noted(run: Path) -> dict[str, Whom]:
    from smile_async.answering import name_of
    from smile_async.provider.dialects import base_url_of
    from smile_async.settings import Endpoint

    with schema.reading(run) as reader:
        notes = account.read_meta(reader, "endpoint") or []
        identity = account.read_meta(reader, "identity") or {}
    model, found = str(identity.get("model", "")), dict[str, Whom]()
    for note in [notes] if isinstance(notes, dict) else notes:
        endpoint = Endpoint.model_validate({name: value for name, value in note.items() if name != "header_names"})
        local = endpoint.provider == "local"
        whom = Whom(endpoint.model or model, endpoint.provider, "" if local else base_url_of(endpoint))
        found.setdefault(name_of(endpoint), whom)  # two keys at one host, host and host#2, ask the same
    return found or {"": Whom(model, "custom")}


class Telemetry:
    """A listener that records each attempt with the providers that are handed in. `whom` tells who is asked, by the
    endpoint's name; it is read at the first attempt there."""

    def __init__(
        self, whom: Callable[[str], Whom], meters: MeterProvider, tracers: TracerProvider | None = None
    ) -> None:
        meter = meters.get_meter(SCOPE)
        self._whom = whom
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "Duration of a request",
            explicit_bucket_boundaries_advisory=DURATIONS,
        )  # fmt: skip
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Tokens of a request",
            explicit_bucket_boundaries_advisory=TOKENS,
        )  # fmt: skip
        self._counters = Counters()  # sums that are read when they are exported: a record costs 10 us
        meter.create_observable_counter("smile.rows", [self._rows], "{row}", "Rows that ended")
        meter.create_observable_counter("smile.spend", [self._spend], "{USD}", "Spent, in US dollars")
        self._tracer = None if tracers is None else tracers.get_tracer(SCOPE)
        self._said: dict[tuple[str, str], Attributes] = {}

    def __call__(self, event: events.Event) -> None:
        self._counters(event)
        match event:
            case events.RowAccepted():
                self._replied(event, "")
            case events.ReplyRejected():
                self._replied(event, event.code)
            case events.AttemptFailed():
                said = self._attributes(event.endpoint, "") | {"error.type": event.kind}
                self._duration.record(event.took, said)
                self._span(event, said, {}, event.kind)
            case _:
                pass

    def _rows(self, _options: CallbackOptions) -> Iterator[Observation]:
        for (state, reason), rows in self._counters.rows.copy().items():
            yield Observation(rows, {"smile.row.state": state, "smile.row.reason": reason})

    def _spend(self, _options: CallbackOptions) -> Iterator[Observation]:
        for endpoint, spent in self._counters.spend_usd.copy().items():
            yield Observation(spent, {"smile.endpoint": endpoint or UNNAMED})

    def _replied(self, event: events.RowAccepted | events.ReplyRejected, broken: str) -> None:
        said = self._attributes(event.endpoint, event.model or "")
        self._duration.record(event.took, said)
        told: Attributes = {"smile.rule": broken} if broken else {}
        if event.usage is not None:
            given, written = event.usage.prompt_tokens, event.usage.completion_tokens
            self._tokens.record(given, said | {"gen_ai.token.type": "input"})
            self._tokens.record(written, said | {"gen_ai.token.type": "output"})
            told |= {"gen_ai.usage.input_tokens": given, "gen_ai.usage.output_tokens": written}
        self._span(event, said, told, "")

    def _span(
        self,
        event: events.RowAccepted | events.ReplyRejected | events.AttemptFailed,
        said: Attributes,
        told: Attributes,
        error: str,
    ) -> None:
        """The attempt as a span, made when it is over: its row and number, never its text."""
        if self._tracer is None:
            return
        end = time.time_ns()
        span = self._tracer.start_span(
            f"chat {said.get('gen_ai.request.model', '')}".strip(),
            kind=SpanKind.CLIENT,
            attributes=said | told | {"smile.row": event.row, "smile.attempt": event.attempt},
            start_time=end - int(event.took * 1e9),
        )
        if error:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(end)

    def _attributes(self, endpoint: str, model: str) -> Attributes:
        said = self._said.get((endpoint, model))
        if said is None:
            said = self._whom(endpoint).attributes() | ({"gen_ai.response.model": model} if model else {})
            if endpoint:
                said["smile.endpoint"] = endpoint
            self._said[endpoint, model] = said
        return said


@contextmanager
def exporting(whom: Callable[[str], Whom], environment: Mapping[str, str] = os.environ) -> Iterator[Telemetry]:
    """A `Telemetry` whose metrics (and spans, where the environment names a sampler) leave over OTLP and HTTP while the
    block runs; what is left leaves at its end."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider as Meters
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource

    named = "OTEL_SERVICE_NAME" in environment or "service.name" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": "smile"})
    meters = Meters([PeriodicExportingMetricReader(OTLPMetricExporter())], resource)
    tracers = _tracers(resource) if SAMPLER in environment else None
    try:
        yield Telemetry(whom, meters, tracers)
    finally:
        meters.shutdown()
        if tracers is not None:
            tracers.shutdown()


def _tracers(resource: "Resource") -> "Tracers":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider as Tracers
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    tracers = Tracers(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return tracers
