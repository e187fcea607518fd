"""The runtime's own log lines: as without the instrumentation, but for the ids of the current span."""

from __future__ import annotations

import contextvars
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ai_lib_python.telemetry import logger as runtime
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import INVALID_SPAN, Span, use_span

from conftest import ROOT
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.patching import Patcher
from opentelemetry_instrumentation_ailib.runtime_logs import ROWS

FORMATTERS = [
    pytest.param(runtime.JsonFormatter, id="json"),
    pytest.param(runtime.TextFormatter, id="text"),
    pytest.param(lambda: runtime.TextFormatter(include_context=False), id="text-without-context"),
    pytest.param(lambda: runtime.JsonFormatter(include_timestamp=False), id="json-without-timestamp"),
]
formatters = pytest.mark.parametrize("formatter", FORMATTERS)

CONTEXTS = [
    pytest.param(None, id="no-context"),
    pytest.param({}, id="empty-context"),
    pytest.param({"request_id": "r-1", "provider": "openai", "model": "gpt-4o"}, id="context"),
]

INTERRUPTED = """
import gc
import io
import logging

from ai_lib_python.telemetry.logger import JsonFormatter
from interrupted import VARIABLES, change
from opentelemetry.sdk.trace import TracerProvider

from opentelemetry_instrumentation_ailib.patching import Patcher
from opentelemetry_instrumentation_ailib.runtime_logs import ROWS


class Resource:
    def __init__(self):
        self.itself = self

    def __del__(self):
        logging.warning("Nobody closed it" + "!" * (lines.tell() % 300))


Patcher().apply(ROWS, None)
lines = io.StringIO()
handler = logging.StreamHandler(lines)
handler.setFormatter(JsonFormatter())
logging.basicConfig(handlers=[handler])
gc.disable()
with TracerProvider().get_tracer("test").start_as_current_span("span"):
    for variable in VARIABLES:
        variable.set(None)
    for number in range(4000):
        Resource()
        change(number)
gc.set_threshold(700)
gc.collect()
"""


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[Patcher]:
    """Patch the formatters, and nothing else."""
    patcher = Patcher()
    patcher.apply(ROWS, None)
    yield patcher
    patcher.undo()


@pytest.fixture
def span() -> Iterator[Span]:
    """Make a recording span current."""
    with TracerProvider().get_tracer("test").start_as_current_span("chat gpt-4o") as span:
        yield span


@pytest.fixture(autouse=True)
def no_context() -> Iterator[None]:
    """Start and leave with no log context."""
    runtime.clear_log_context()
    yield
    runtime.clear_log_context()


def ids(span: Span) -> dict[str, Any]:
    """Return the ids of a span as a log context has them."""
    context = span.get_span_context()
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def record(**more: Any) -> logging.LogRecord:
    """Return a record with a secret in its message and its fields."""
    return logging.makeLogRecord(
        {
            "name": "ai_lib_python.client",
            "levelno": logging.INFO,
            "levelname": "INFO",
            "msg": "api_key=sk-12345678901234567890",
            "created": 1.5,
            "msecs": 500.0,
            "extra_fields": {"tokens": 12, "note": "Bearer abc"},
            **more,
        }
    )


def failure() -> Any:
    """Return what ``exc_info`` is inside a handler."""
    try:
        raise ValueError("broken")
    except ValueError:
        return sys.exc_info()


def original(function: Any) -> Any:
    """Return the function under a patch."""
    return function.__wrapped__


def uninstrumented(formatter: logging.Formatter, line: logging.LogRecord) -> str:
    """Format a record as the runtime would by itself."""
    return str(original(type(formatter).format)(formatter, line))


@formatters
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("more", [{}, {"exc_info": failure()}], ids=["line", "traceback"])
def test_a_line_differs_in_nothing_but_the_ids(
    formatter: Callable[[], logging.Formatter], context: dict[str, Any] | None, more: Any, span: Span
) -> None:
    """It is the line of the runtime alone where the application itself set the ids."""
    if context is not None:
        runtime.set_log_context(runtime.LogContext(**context))
    line = formatter().format(record(**more))
    runtime.set_log_context(runtime.LogContext(**(context or {}), **ids(span)))
    assert line == uninstrumented(formatter(), record(**more))


def test_the_ids_are_in_the_context_of_a_json_line(span: Span) -> None:
    runtime.set_log_context(runtime.LogContext(provider="openai"))
    line = json.loads(runtime.JsonFormatter().format(record()))
    assert line == {
        "level": "INFO",
        "logger": "ai_lib_python.client",
        "message": "api_key=***REDACTED***",
        "timestamp": "1970-01-01T00:00:01.500Z",
        "context": {**ids(span), "provider": "openai"},
        "tokens": "***REDACTED***",
        "note": "Bearer ***REDACTED***",
    }


def test_the_ids_are_at_the_end_of_a_text_line(span: Span) -> None:
    line = runtime.TextFormatter().format(record(msg="hello"))
    assert line.endswith(" | ai_lib_python.client | hello | trace_id={trace_id} span_id={span_id}".format(**ids(span)))


@formatters
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("current", [None, INVALID_SPAN], ids=["no-span", "invalid-span"])
def test_without_a_valid_span_a_line_is_the_runtimes(
    formatter: Callable[[], logging.Formatter], context: dict[str, Any] | None, current: Any
) -> None:
    if context is not None:
        runtime.set_log_context(runtime.LogContext(**context))
    if current is None:
        line = formatter().format(record())
    else:
        with use_span(current):
            line = formatter().format(record())
    assert line == uninstrumented(formatter(), record())


@formatters
@pytest.mark.parametrize("own", [{"trace_id": "mine"}, {"span_id": "mine"}, {"trace_id": "mine", "span_id": "mine"}])
@pytest.mark.usefixtures("span")
def test_ids_that_the_application_set_are_left_alone(
    formatter: Callable[[], logging.Formatter], own: dict[str, Any]
) -> None:
    runtime.set_log_context(runtime.LogContext(provider="openai", **own))
    assert formatter().format(record()) == uninstrumented(formatter(), record())


@formatters
@pytest.mark.usefixtures("span")
def test_the_log_context_of_the_application_is_the_same_object_with_the_same_content_after_a_line(
    formatter: Callable[[], logging.Formatter],
) -> None:
    runtime.set_log_context(runtime.LogContext(provider="openai"))
    before = runtime._log_context.get()
    formatter().format(record())
    assert runtime._log_context.get() is before
    assert before == {"provider": "openai"}
    assert runtime.get_log_context() == runtime.LogContext(provider="openai")


@pytest.mark.usefixtures("span")
def test_no_log_context_is_left_where_there_was_none() -> None:
    inside = contextvars.copy_context()
    inside.run(runtime.JsonFormatter().format, record())
    assert inside[runtime._log_context] is None
    fresh = contextvars.Context()
    assert fresh.run(runtime.JsonFormatter().format, record())
    assert runtime._log_context not in fresh


class Broken:
    """A masker that fails."""

    def mask(self, text: str) -> str:
        raise LookupError("broken")


@pytest.mark.parametrize("formatter", [runtime.JsonFormatter, runtime.TextFormatter])
@pytest.mark.usefixtures("span")
def test_an_exception_of_a_formatter_passes_and_leaves_no_ids_behind(formatter: Any) -> None:
    runtime.set_log_context(runtime.LogContext(provider="openai"))
    with pytest.raises(LookupError, match="broken"):
        formatter(masker=Broken()).format(record())
    assert runtime._log_context.get() == {"provider": "openai"}


@pytest.mark.usefixtures("span")
def test_a_context_that_the_runtime_itself_cannot_read_fails_as_it_does_alone() -> None:
    """``get_log_context`` takes back no fields of the application's own."""
    runtime.set_log_context(runtime.LogContext(extra={"tenant": "t-1"}))
    with pytest.raises(TypeError) as instrumented:
        runtime.JsonFormatter().format(record())
    with pytest.raises(TypeError) as alone:
        uninstrumented(runtime.JsonFormatter(), record())
    assert str(instrumented.value) == str(alone.value)


def test_threads_have_the_ids_of_their_own_spans() -> None:
    tracer, formatter, lines = TracerProvider().get_tracer("test"), runtime.JsonFormatter(), {}
    together = threading.Barrier(4)

    def run(name: str) -> None:
        with tracer.start_as_current_span(name) as span:
            runtime.set_log_context(runtime.LogContext(request_id=name))
            together.wait()
            formatted = [json.loads(formatter.format(record()))["context"] for _ in range(200)]
            lines[name] = (formatted, {"request_id": name, **ids(span)}, runtime._log_context.get())

    threads = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(lines) == ["a", "b", "c", "d"]
    for name, (formatted, expected, left) in lines.items():
        assert formatted == [expected] * 200
        assert left == {"request_id": name}


def test_a_formatter_that_is_derived_from_the_runtimes_has_the_ids_too(span: Span) -> None:
    class Derived(runtime.JsonFormatter):
        def format(self, record: logging.LogRecord) -> str:
            return f"> {super().format(record)}"

    assert json.loads(Derived().format(record())[2:])["context"] == ids(span)


def test_lines_of_the_runtimes_logger_have_the_ids(span: Span, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_loggers", "_formatter", "_handler"):
        monkeypatch.setattr(runtime.AiLibLogger, name, {} if name == "_loggers" else None)
    written = io.StringIO()
    runtime.AiLibLogger.configure(stream=written)
    runtime.get_logger("ai_lib_python.of_this_test").info("hello", answer=42)
    line = json.loads(written.getvalue())
    assert (line["message"], line["answer"], line["context"]) == ("hello", 42, ids(span))


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@pytest.mark.usefixtures("span")
def test_a_fault_of_ours_costs_the_ids_and_not_the_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    formatter = runtime.JsonFormatter()
    expected = uninstrumented(formatter, record())

    @guarded
    def fail() -> Any:
        raise LookupError("broken")

    monkeypatch.setattr("opentelemetry_instrumentation_ailib.runtime_logs._show_ids", fail)
    assert formatter.format(record()) == expected
    assert [entry.levelname for entry in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.target)
def test_every_row_is_there_and_taken_off_to_the_original(row: Any, instrumented: Patcher) -> None:
    owner, name, patched = row.resolve()
    instrumented.undo()
    assert vars(owner)[name] is original(patched)
    instrumented.apply(ROWS, None)
    assert original(vars(owner)[name]) is original(patched)


def test_the_formatters_are_both_patched() -> None:
    assert [(row.module, row.target) for row in ROWS] == [
        ("ai_lib_python.telemetry.logger", "JsonFormatter.format"),
        ("ai_lib_python.telemetry.logger", "TextFormatter.format"),
    ]


def test_a_line_changes_no_context() -> None:
    """It may come of a garbage collection, in the middle of a change of it, which CPython before 3.12 does not bear."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", INTERRUPTED], cwd=ROOT / "tests", capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
