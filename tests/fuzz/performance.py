"""What came of a scenario, and what surrounds it: manifests, the instrumentation, and ears for complaints."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from answers import Provider
from calls import Seen
from manifests import TOKEN
from opentelemetry import context, trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import NoOpTracerProvider
from scenarios import Scenario
from values import SECRET

from differential import Both
from in_process import await_ends
from leaks import Exported
from opentelemetry_instrumentation_ailib import AiLibInstrumentor, semconv
from opentelemetry_instrumentation_ailib.documented.current import CURRENT
from opentelemetry_instrumentation_ailib.live import LiveComponents
from opentelemetry_instrumentation_ailib.operations import chat
from recorder import Recorder

APPLICATION = "application"
GAUGES = (semconv.CIRCUIT_BREAKER_STATE, semconv.BACKPRESSURE_IN_FLIGHT)
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class Spans(SpanProcessor):
    """Knows every span that starts, in order, and every span that ends."""

    def __init__(self) -> None:
        self.started: list[ReadableSpan] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Note a start."""
        self.started.append(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Note an end."""
        self.ended.append(span)

    def open(self) -> list[str]:
        """Return the names of our spans that have not ended."""
        ended = {span.context.span_id for span in self.ended}
        return [span.name for span in self.started if span.context.span_id not in ended and span.name != APPLICATION]


def _recorder() -> Recorder:
    # To find out what machine this is takes each provider a pool of threads.
    with mock.patch.object(Resource, "create", return_value=Resource.get_empty()):
        return Recorder()


@dataclass
class Performance:
    """What came of a scenario that was played.

    Attributes:
        without: What an application sees without the instrumentation.
        unheard: What it sees with it where nobody listens.
        instrumented: What it sees with it where everybody does.
        outcomes: The outcomes that the health of each provider is read from: without listeners, and with them.
        provider: The provider of the last time.
        begun: The calls of the last time that began, in that order.
        executor: The executor of the last time's client, if there is one.
        exported: What was recorded.
        spans: The spans.
        application: The application's span, if it has one.
        gauges: The sums of the gauges of the executor's components, which end with the instrumentation.
        faults: What was reported of us, of OpenTelemetry and of asyncio.
    """

    scenario: Scenario
    without: dict[str, Any] = field(default_factory=dict)
    unheard: dict[str, Any] = field(default_factory=dict)
    instrumented: dict[str, Any] = field(default_factory=dict)
    outcomes: list[dict[str, Counter[str | None]]] = field(default_factory=list)
    provider: Provider = field(default_factory=lambda: Provider(()))
    begun: list[Seen] = field(default_factory=list)
    executor: Any = None
    recorder: Recorder = field(default_factory=_recorder)
    spans: Spans = field(default_factory=Spans)
    application: Any = None
    exported: Exported = field(init=False)
    gauges: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.exported = Exported(self.recorder)
        self.recorder.tracer_provider.add_span_processor(self.spans)

    def differences(self) -> list[str]:
        """Name everything that an application could tell the first time from the others by."""
        return [
            difference
            for seen in (self.unheard, self.instrumented)
            for difference in Both(self.without, seen).differences()
        ]

    def note_outcomes(self) -> None:
        """Keep the outcomes of the round that is about to end."""
        assert CURRENT.round is not None
        windows = CURRENT.round.outcomes._providers
        # In which order streams end that nobody has any more, is up to the garbage collector.
        self.outcomes.append({provider: Counter(window.errors) for provider, window in windows.items()})


# --- what surrounds it ---


@contextlib.contextmanager
def manifests_on_disk(scenario: Scenario) -> Iterator[None]:
    """Have the runtime find the manifests of a scenario, and a credential."""
    with tempfile.TemporaryDirectory() as folder:
        providers = Path(folder, scenario.version, "providers")
        providers.mkdir(parents=True)
        for name, manifest in zip(("fuzzed", "other"), scenario.manifests, strict=True):
            providers.joinpath(f"{name}.json").write_text(json.dumps(manifest))
        known = {"AI_PROTOCOL_DIR": folder, TOKEN: SECRET, CAPTURE: scenario.telemetry.capture}
        with mock.patch.dict(os.environ, known):
            yield


@contextlib.contextmanager
def unheard(performance: Performance) -> Iterator[None]:
    """Instrument the runtime where nobody collects or reads anything: pytest does, of all logs."""
    with (
        mock.patch.object(AiLibInstrumentor, "_components", LiveComponents()),
        mock.patch.object(chat, "streams_are_logged", return_value=False),
        mock.patch.dict(os.environ, {CAPTURE: ""}),
    ):
        AiLibInstrumentor().instrument(tracer_provider=NoOpTracerProvider(), meter_provider=NoOpMeterProvider())
        try:
            yield
            settle()
            performance.note_outcomes()
        finally:
            AiLibInstrumentor().uninstrument()


@contextlib.contextmanager
def instrumented(performance: Performance) -> Iterator[None]:
    """Instrument the runtime as a scenario wants it, around the application's span."""
    recorder, telemetry = performance.recorder, performance.scenario.telemetry
    instrumentor = AiLibInstrumentor()
    with mock.patch.object(AiLibInstrumentor, "_components", LiveComponents()), performance.exported.logs():
        logging.getLogger("ai_lib").setLevel(telemetry.level)
        instrumentor.instrument(**telemetry.arguments, **recorder.providers)
        try:
            with _application(performance):
                yield
            performance.note_outcomes()
            performance.gauges = {name: sum(value for _, value in recorder.points(name)) for name in GAUGES}
        finally:
            instrumentor.uninstrument()


@contextlib.contextmanager
def _application(performance: Performance) -> Iterator[None]:
    if not performance.scenario.telemetry.inside:
        yield
        return
    tracer = performance.recorder.tracer_provider.get_tracer("application")
    performance.application = span = tracer.start_span(APPLICATION)
    token = context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        context.detach(token)
        span.end()


def settle(spans: Spans | None = None) -> None:
    """Let streams end that nobody has any more, of which some are ended in a thread of their own.

    Args:
        spans: What tells whether any are open, where there are spans.
    """
    if spans is None or spans.open():
        gc.collect()
    await_ends()


class _Complaints(logging.Handler):
    def __init__(self, faults: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        self._faults.append(f"{record.name}: {record.getMessage()}")


@contextlib.contextmanager
def complaints(faults: list[str]) -> Iterator[None]:
    """Collect what is logged of us, of OpenTelemetry and of asyncio."""
    handler = _Complaints(faults)
    loggers = [logging.getLogger(name) for name in ("opentelemetry", "opentelemetry_instrumentation_ailib", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
