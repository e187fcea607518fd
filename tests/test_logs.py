"""The records about calls, attempts, streams, manifests and stages: exactly these fields, and nothing for nobody."""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.context import Context, get_current
from opentelemetry.sdk import _logs as sdk
from opentelemetry.trace import Span, get_current_span, set_span_in_context

from opentelemetry_instrumentation_ailib import logs
from opentelemetry_instrumentation_ailib.cardinality import Identity, Labels
from opentelemetry_instrumentation_ailib.usage import Usage
from recorder import Recorder

STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime"}


@dataclass
class Operation:
    """What the records use of an operation."""

    span: Span
    context: Context
    name: str = "chat"
    identity: Identity = field(default_factory=lambda: Labels().identity("chat", "openai", "gpt-4o"))
    attributes: dict[str, Any] = field(default_factory=lambda: {"ai_lib.provider.id": "openai"})


class Untouchable:
    """An operation at which nobody may look."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} was looked at")


@pytest.fixture
def operation(recorder: Recorder) -> Any:
    """Return an operation with a span that is not current."""
    span = recorder.tracer_provider.get_tracer("test").start_span("chat gpt-4o", Context())
    return Operation(span, set_span_in_context(span))


def ids(span: Span) -> dict[str, str]:
    """Return the ids of a span as the records have them."""
    context = span.get_span_context()
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


IDENTITY = {"gen_ai.operation.name": "chat", "ai_lib.provider.id": "openai", "gen_ai.request.model": "gpt-4o"}


@dataclass
class Line:
    """One record: where it was logged, what it says, and all of its fields."""

    logger: str
    level: str
    message: str
    fields: dict[str, Any]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[Line]]:
    """Return a function that returns what was logged."""
    caplog.set_level(logging.DEBUG, logger="ai_lib")
    return lambda: [
        Line(
            record.name,
            record.levelname,
            record.getMessage(),
            {name: value for name, value in vars(record).items() if name not in STANDARD},
        )
        for record in caplog.records
    ]


Lines = Callable[[], list[Line]]

# --- INFO: one line for each call ---


def test_a_finished_call_is_one_line(operation: Any, lines: Lines) -> None:
    usage = Usage(input=12, output=5, cache_read=3, cache_write=2, reasoning=1)
    logs.request_finished(operation, outcome="ok", duration=1.2345, error=None, usage=usage, finish_reasons=("stop",))
    assert lines() == [
        Line(
            "ai_lib.request",
            "INFO",
            "chat openai/gpt-4o: ok in 1.234 s, 12 input tokens, 5 output tokens, finish reason stop",
            {
                **ids(operation.span),
                **IDENTITY,
                "outcome": "ok",
                "ai_lib.request.duration": 1.2345,
                "gen_ai.usage.input_tokens": 12,
                "gen_ai.usage.output_tokens": 5,
                "gen_ai.usage.cache_read.input_tokens": 3,
                "gen_ai.usage.cache_write.input_tokens": 2,
                "gen_ai.usage.reasoning.output_tokens": 1,
                "gen_ai.response.finish_reasons": ("stop",),
            },
        )
    ]


def test_a_failed_call_names_its_error_type_and_nothing_that_is_not_known(operation: Any, lines: Lines) -> None:
    logs.request_finished(
        operation, outcome="error", duration=0.25, error="rate_limited", usage=Usage(), finish_reasons=()
    )
    assert lines() == [
        Line(
            "ai_lib.request",
            "INFO",
            "chat openai/gpt-4o: error in 0.250 s, rate_limited",
            {
                **ids(operation.span),
                **IDENTITY,
                "outcome": "error",
                "ai_lib.request.duration": 0.25,
                "error.type": "rate_limited",
            },
        )
    ]


def test_a_call_that_took_no_tokens_says_so(operation: Any, lines: Lines) -> None:
    logs.request_finished(operation, outcome="ok", duration=0.0, usage=Usage(input=0, output=0))
    (line,) = lines()
    assert line.message == "chat openai/gpt-4o: ok in 0.000 s, 0 input tokens, 0 output tokens"
    assert (line.fields["gen_ai.usage.input_tokens"], line.fields["gen_ai.usage.output_tokens"]) == (0, 0)


def test_several_candidates_have_several_finish_reasons(operation: Any, lines: Lines) -> None:
    logs.request_finished(operation, outcome="ok", duration=1.0, finish_reasons=["stop", "length"])
    (line,) = lines()
    assert line.message == "chat openai/gpt-4o: ok in 1.000 s, finish reason stop/length"
    assert line.fields["gen_ai.response.finish_reasons"] == ("stop", "length")


def test_after_a_fallback_the_line_names_who_answered_and_the_span_s_own_attributes(
    operation: Any, lines: Lines
) -> None:
    operation.identity = Labels().identity("chat", "anthropic", "claude-x")
    operation.attributes |= {
        "ai_lib.request.id": "r-1",
        "ai_lib.fallback.count": 1,
        "ai_lib.fallback.model": "claude-x",
        "ai_lib.stream.outcome": "completed",
    }
    logs.request_finished(operation, outcome="completed", duration=1.0)
    assert lines() == [
        Line(
            "ai_lib.request",
            "INFO",
            "chat anthropic/claude-x: completed in 1.000 s",
            {
                **ids(operation.span),
                "gen_ai.operation.name": "chat",
                "ai_lib.provider.id": "anthropic",
                "gen_ai.request.model": "claude-x",
                "ai_lib.request.id": "r-1",
                "ai_lib.fallback.count": 1,
                "ai_lib.fallback.model": "claude-x",
                "ai_lib.stream.outcome": "completed",
                "outcome": "completed",
                "ai_lib.request.duration": 1.0,
            },
        )
    ]


# --- WARNING: attempts, circuits and streams ---

SECRET = "secret-of-openai"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("rate_limited", "rate_limited"),
        (ValueError(SECRET), "ValueError"),
        (TimeoutError(SECRET), "timeout"),
        (None, "_OTHER"),
    ],
)
def test_a_retry(operation: Any, lines: Lines, error: Any, kind: str) -> None:
    operation.attributes["ai_lib.request.id"] = "r-1"
    logs.retry(operation, 2, error, 0.5)
    assert lines() == [
        Line(
            "ai_lib.resilience",
            "WARNING",
            f"chat openai/gpt-4o: attempt 2 failed ({kind}), the next in 0.500 s",
            {
                **ids(operation.span),
                **IDENTITY,
                "ai_lib.request.id": "r-1",
                "attempt": 2,
                "delay": 0.5,
                "error.type": kind,
            },
        )
    ]


@pytest.mark.parametrize(("error", "kind"), [("overloaded", "overloaded"), (KeyError(SECRET), "KeyError")])
def test_a_fallback(operation: Any, lines: Lines, error: Any, kind: str) -> None:
    logs.fallback(operation, "openai/gpt-4o", "anthropic/claude-x", error)
    assert lines() == [
        Line(
            "ai_lib.resilience",
            "WARNING",
            f"chat: openai/gpt-4o failed ({kind}), anthropic/claude-x is asked instead",
            {
                **ids(operation.span),
                **IDENTITY,
                "from": "openai/gpt-4o",
                "to": "anthropic/claude-x",
                "error.type": kind,
            },
        )
    ]


def test_a_circuit_that_opens_is_logged_where_that_happens(recorder: Recorder, lines: Lines) -> None:
    with recorder.tracer_provider.get_tracer("test").start_as_current_span("attempt") as span:
        logs.circuit_opened("openai/gpt-4o")
    assert lines() == [
        Line(
            "ai_lib.resilience",
            "WARNING",
            "The circuit breaker of openai/gpt-4o opened",
            {**ids(span), "executor": "openai/gpt-4o", "ai_lib.circuit_breaker.state": "open"},
        )
    ]


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (
            "empty",
            "brought 512 bytes in 3 frames and not one event: its manifest maps none of its frames",
        ),
        (
            "truncated",
            "ended after 512 bytes in 3 frames without a finish reason or a done signal: its answer may be cut off",
        ),
    ],
)
def test_a_stream_that_ends_as_it_should_not(operation: Any, lines: Lines, outcome: str, message: str) -> None:
    logs.stream_ended(operation, outcome, bytes=512, frames=3)
    assert lines() == [
        Line(
            "ai_lib.stream",
            "WARNING",
            f"The stream of openai/gpt-4o {message}",
            {
                **ids(operation.span),
                **IDENTITY,
                "ai_lib.stream.outcome": outcome,
                "ai_lib.stream.bytes": 512,
                "ai_lib.stream.frames": 3,
            },
        )
    ]


@pytest.mark.parametrize("outcome", ["completed", "abandoned", "cancelled", "error"])
def test_any_other_end_of_a_stream_is_no_news(outcome: str, lines: Lines) -> None:
    operation: Any = Untouchable()
    logs.stream_ended(operation, outcome, bytes=512, frames=3)
    assert lines() == []


# --- DEBUG: manifests and stages ---


def test_a_manifest_that_was_loaded(operation: Any, lines: Lines) -> None:
    logs.protocol_loaded(
        operation.context, provider="openai", source="local", version="1.5", seconds=0.001234, error=None
    )
    assert lines() == [
        Line(
            "ai_lib.protocol",
            "DEBUG",
            "Loading the protocol of openai took 0.001234 s, version 1.5, from local",
            {
                **ids(operation.span),
                "ai_lib.provider.id": "openai",
                "ai_lib.stage": "protocol.load",
                "ai_lib.stage.duration": 0.001234,
                "ai_lib.protocol.source": "local",
                "ai_lib.protocol.version": "1.5",
            },
        )
    ]


@pytest.mark.parametrize(("error", "kind"), [("cancelled", "cancelled"), (FileNotFoundError(SECRET), None)])
def test_a_manifest_that_was_not(lines: Lines, error: Any, kind: str | None) -> None:
    logs.protocol_loaded(Context(), provider="nobody", source=None, version=None, seconds=2.0, error=error)
    kind = kind or "FileNotFoundError"
    assert lines() == [
        Line(
            "ai_lib.protocol",
            "DEBUG",
            f"Loading the protocol of nobody took 2.000000 s, failed: {kind}",
            {
                "trace_id": "0" * 32,
                "span_id": "0" * 16,
                "ai_lib.provider.id": "nobody",
                "ai_lib.stage": "protocol.load",
                "ai_lib.stage.duration": 2.0,
                "error.type": kind,
            },
        )
    ]


def test_a_stage_that_is_over_with_its_sizes(operation: Any, lines: Lines) -> None:
    logs.stage_finished(
        operation, "pipeline.process", 0.0125, attributes={"ai_lib.stream.bytes": 512, "ai_lib.stream.frames": 3}
    )
    assert lines() == [
        Line(
            "ai_lib.pipeline",
            "DEBUG",
            "chat openai/gpt-4o: pipeline.process took 0.012500 s, ai_lib.stream.bytes=512, ai_lib.stream.frames=3",
            {
                **ids(operation.span),
                **IDENTITY,
                "ai_lib.stage": "pipeline.process",
                "ai_lib.stage.duration": 0.0125,
                "ai_lib.stream.bytes": 512,
                "ai_lib.stream.frames": 3,
            },
        )
    ]


@pytest.mark.parametrize("attributes", [None, {}])
def test_a_stage_of_which_nothing_else_is_known(operation: Any, lines: Lines, attributes: Any) -> None:
    logs.stage_finished(operation, "request.compile", 0.5, attributes=attributes)
    (line,) = lines()
    assert line.message == "chat openai/gpt-4o: request.compile took 0.500000 s"
    assert line.fields == {
        **ids(operation.span),
        **IDENTITY,
        "ai_lib.stage": "request.compile",
        "ai_lib.stage.duration": 0.5,
    }


# --- for nobody ---


def context_of(operation: Any) -> Any:
    """Return the context of an operation, and whoever nobody may look at as what it is."""
    return operation if type(operation) is Untouchable else operation.context


EVERY: dict[str, tuple[str, int, Callable[[Any], Any]]] = {
    "request_finished": (
        "ai_lib.request",
        logging.INFO,
        lambda operation: logs.request_finished(operation, outcome="ok", duration=1.0, usage=Usage(input=1)),
    ),
    "retry": ("ai_lib.resilience", logging.WARNING, lambda operation: logs.retry(operation, 1, "timeout", 0.5)),
    "fallback": ("ai_lib.resilience", logging.WARNING, lambda operation: logs.fallback(operation, "a/b", "c/d", "x")),
    "circuit_opened": ("ai_lib.resilience", logging.WARNING, lambda _: logs.circuit_opened("openai/gpt-4o")),
    "stream_ended": (
        "ai_lib.stream",
        logging.WARNING,
        lambda operation: logs.stream_ended(operation, "empty", bytes=1, frames=1),
    ),
    "protocol_loaded": (
        "ai_lib.protocol",
        logging.DEBUG,
        lambda operation: logs.protocol_loaded(
            context_of(operation),
            provider="openai",
            source="local",
            version="1.5",
            seconds=0.1,
        ),
    ),
    "stage_finished": (
        "ai_lib.pipeline",
        logging.DEBUG,
        lambda operation: logs.stage_finished(operation, "event.map", 0.1, attributes={"ai_lib.stream.events": 1}),
    ),
}
every = pytest.mark.parametrize(("logger", "level", "log"), EVERY.values(), ids=EVERY)


@every
def test_nothing_is_computed_where_the_level_is_not_enabled(
    caplog: pytest.LogCaptureFixture, logger: str, level: int, log: Callable[[Any], Any]
) -> None:
    caplog.set_level(logging.DEBUG, logger="ai_lib")
    caplog.set_level(level + 1, logger=logger)
    log(Untouchable())
    assert caplog.records == []


@every
def test_something_is_where_it_is(
    caplog: pytest.LogCaptureFixture, operation: Any, logger: str, level: int, log: Callable[[Any], Any]
) -> None:
    """The test above would pass for a function that never logs."""
    caplog.set_level(level + 1, logger="ai_lib")
    caplog.set_level(level, logger=logger)
    log(operation)
    assert [(record.name, record.levelno) for record in caplog.records] == [(logger, level)]


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@every
@pytest.mark.parametrize("broken", ["filter", "handler"])
def test_what_the_application_listens_with_may_raise(
    operation: Any, broken: str, logger: str, level: int, log: Callable[[Any], Any]
) -> None:
    calls = []

    class Broken(logging.Handler):
        def filter(self, record: logging.LogRecord) -> Any:
            calls.append(record)
            return super().filter(record)

        def emit(self, record: logging.LogRecord) -> None:
            raise LookupError("broken")

    def refuse(record: logging.LogRecord) -> bool:
        calls.append(record)
        raise LookupError("broken")

    target, handler, outside = logging.getLogger(logger), Broken(), get_current()
    target.setLevel(level)
    add, remove = (
        (target.addFilter, target.removeFilter) if broken == "filter" else (target.addHandler, target.removeHandler)
    )
    listener: Any = refuse if broken == "filter" else handler
    add(listener)
    try:
        assert log(operation) is None
    finally:
        remove(listener)
        target.setLevel(logging.NOTSET)
    assert len(calls) == 1
    assert get_current() is outside


# --- in the trace ---


def exporting_handler(recorder: Recorder) -> logging.Handler:
    """Return the handler that exports what is logged: of its own package, or of the SDK, which deprecates it."""
    module: Any = None
    with contextlib.suppress(ImportError):
        module = importlib.import_module("opentelemetry.instrumentation.logging.handler")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        handler: logging.Handler = (module or sdk).LoggingHandler(logger_provider=recorder.logger_provider)
    return handler


@pytest.fixture
def exported(recorder: Recorder) -> Iterator[Recorder]:
    """Export everything that our loggers log."""
    handler, root = exporting_handler(recorder), logging.getLogger("ai_lib")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield recorder
    root.removeHandler(handler)
    root.setLevel(logging.NOTSET)


def _with_ids(*args: Any, **kwargs: Any) -> logging.LogRecord:
    # What the logging instrumentation sets, where it is not installed.
    record = logging.LogRecord(*args, **kwargs)
    span = get_current_span().get_span_context()
    record.otelTraceID, record.otelSpanID = f"{span.trace_id:032x}", f"{span.span_id:016x}"
    record.otelTraceSampled, record.otelServiceName = span.trace_flags.sampled, ""
    return record


@pytest.fixture
def logging_instrumented(recorder: Recorder) -> Iterator[None]:
    """Have the ids of the current span set by the record factory of the logging instrumentation, or one like it."""
    before = logging.getLogRecordFactory()
    try:
        module = importlib.import_module("opentelemetry.instrumentation.logging")
    except ImportError:
        logging.setLogRecordFactory(_with_ids)
        yield
        logging.setLogRecordFactory(before)
        return
    module.LoggingInstrumentor().instrument(
        tracer_provider=recorder.tracer_provider, inject_trace_context=True, enable_log_auto_instrumentation=False
    )
    yield
    module.LoggingInstrumentor().uninstrument()
    assert logging.getLogRecordFactory() is before


OF_AN_OPERATION = {name: row for name, row in EVERY.items() if name != "circuit_opened"}


@pytest.mark.parametrize(("logger", "level", "log"), OF_AN_OPERATION.values(), ids=OF_AN_OPERATION)
def test_an_exported_record_is_the_operation_spans(
    exported: Recorder, operation: Any, logger: str, level: int, log: Callable[[Any], Any]
) -> None:
    """Although the span is not current where the record is logged."""
    log(operation)
    (record,) = exported.events()
    span = operation.span.get_span_context()
    assert (record.trace_id, record.span_id, record.trace_flags) == (span.trace_id, span.span_id, span.trace_flags)
    assert ids(operation.span).items() <= dict(record.attributes).items()


def test_all_fields_are_exported(exported: Recorder, operation: Any) -> None:
    logs.request_finished(
        operation, outcome="ok", duration=1.5, usage=Usage(input=12, output=5), finish_reasons=("stop",)
    )
    (record,) = exported.events()
    assert record.body == "chat openai/gpt-4o: ok in 1.500 s, 12 input tokens, 5 output tokens, finish reason stop"
    attributes = {name: value for name, value in record.attributes.items() if not name.startswith("code.")}
    assert attributes == {
        **ids(operation.span),
        **IDENTITY,
        "outcome": "ok",
        "ai_lib.request.duration": 1.5,
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.response.finish_reasons": ("stop",),
    }


@pytest.mark.usefixtures("logging_instrumented")
def test_the_logging_instrumentation_sets_the_operation_spans_ids(
    exported: Recorder, operation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    logs.retry(operation, 1, "timeout", 0.5)
    (line,), (record,) = caplog.records, exported.events()
    expected = ids(operation.span)
    assert (line.otelTraceID, line.otelSpanID, line.otelTraceSampled) == (*expected.values(), True)
    assert (line.trace_id, line.span_id) == tuple(expected.values())
    assert (record.trace_id, record.span_id) == tuple(int(value, 16) for value in expected.values())
