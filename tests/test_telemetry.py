"""The bundle, and what keeps our faults to ourselves."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import functools
import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import pytest
from opentelemetry import context as otel_context
from opentelemetry._logs import get_logger
from opentelemetry.context import Context, attach, get_value, set_value
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.util.genai.types import ContentCapturingMode

from opentelemetry_instrumentation_ailib import guard, semconv
from opentelemetry_instrumentation_ailib.config import Config
from opentelemetry_instrumentation_ailib.content import Content
from opentelemetry_instrumentation_ailib.context import detach
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.live import LiveComponents
from opentelemetry_instrumentation_ailib.telemetry import Moment, Telemetry, end_stage
from opentelemetry_instrumentation_ailib.version import __version__
from recorder import Recorder

LOGGER = "opentelemetry_instrumentation_ailib.guard"


# --- guarded ---


def test_a_guarded_function_is_the_function_with_its_arguments_result_and_name() -> None:
    @guarded
    def add(first: int, *, second: int) -> int:
        """Add."""
        return first + second

    assert add(1, second=2) == 3
    assert (add.__name__, add.__doc__) == ("add", "Add.")


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
def test_a_fault_is_logged_once_for_each_function_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    @guarded
    def first() -> int:
        raise ValueError("first fault")

    @guarded
    def second() -> int:
        raise KeyError("second fault")

    assert [first(), first(), second(), second(), first()] == [None] * 5
    records = [record for record in caplog.records if record.name == LOGGER]
    site = f"{__name__}.test_a_fault_is_logged_once_for_each_function_with_its_traceback.<locals>"
    said = [record.getMessage().splitlines() for record in records]
    assert [(record.levelno, lines[0], lines[1]) for record, lines in zip(records, said, strict=True)] == [
        (
            logging.WARNING,
            f"Telemetry of ai-lib-python is incomplete: a fault in {site}.{name} (reported once)",
            "Traceback (most recent call last):",
        )
        for name in ("first", "second")
    ]
    assert [lines[-1] for lines in said] == ["ValueError: first fault", "KeyError: 'second fault'"]


class Untold(type):
    def __getattr__(cls, name: str) -> Any:
        raise ValueError(name)


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
def test_an_argument_of_which_even_the_class_raises_is_no_other_fault() -> None:
    @guarded
    def end(_: object) -> None:
        raise KeyError("a fault of ours")

    assert end(Untold("Mine", (), {})()) is None


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
def test_what_a_call_failed_with_is_not_told_with_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody has masked it."""

    @guarded
    def end() -> None:
        raise ValueError("a fault of ours")

    try:
        raise ConnectionError("no, Bearer sk-secret")
    except ConnectionError:
        end()
    (record,) = (record for record in caplog.records if record.name == LOGGER)
    told = logging.Formatter().format(record)
    assert told.endswith("ValueError: a fault of ours")
    assert "sk-secret" not in told


API_KEY = "sk-abcdefghijklmnopqrstuvwxyz"


class Holder:
    """What a function of ours is about, which knows credentials."""

    secrets: tuple[str, ...] = ()


class WordlessError(Exception):
    """One that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError(API_KEY)


class NotedError(Exception):
    """One that says its credential beside its message, too."""

    __notes__ = (API_KEY,)


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (ValueError(f"no, {API_KEY}"), "ValueError: no, sk-***REDACTED***"),
        (ValueError("no, pl/Zq7+mK2vW9=xR4"), "ValueError: no, ***REDACTED***"),
        (ValueError("no, pl%2FZq7%2BmK2vW9%3DxR4"), "ValueError: no, ***REDACTED***"),
        (NotedError("no"), f"{__name__}.NotedError: no"),
        (WordlessError(), f"{__name__}.WordlessError"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 10_000), f"ValueError: {'x' * 512}"),
    ],
    ids=["known by its looks", "known", "quoted", "in a note", "wordless", "empty", "long"],
)
def test_a_fault_is_told_without_credentials(fault: Exception, told: str, caplog: pytest.LogCaptureFixture) -> None:
    """It may be that of a hook of the application's, which may quote anything."""

    @guarded
    def call(_hook: object, _holder: Holder) -> None:
        raise fault

    holder = Holder()
    holder.secrets = ("pl/Zq7+mK2vW9=xR4",)
    call(object(), holder)
    (record,) = (record for record in caplog.records if record.name == LOGGER)
    lines = logging.Formatter().format(record).splitlines()
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-2].strip() == "raise fault"
    assert lines[-1] == told


def test_a_fault_is_masked_where_the_runtime_is_not_imported_yet() -> None:
    script = f"""
import sys
from opentelemetry_instrumentation_ailib.guard import guarded

@guarded
def load():
    raise ValueError("no, {API_KEY}")

load()
print("ai_lib_python" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"
    assert done.stderr.splitlines()[-1] == "ValueError: no, sk-***REDACTED***"


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
def test_a_guarded_function_works_again_after_a_fault() -> None:
    @guarded
    def invert(number: int) -> float:
        return 1 / number

    assert [invert(0), invert(2)] == [None, 0.5]


@pytest.mark.swallowed
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_is_no_fault_passes(error: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    @guarded
    def stop() -> None:
        raise error

    with pytest.raises(error):
        stop()
    assert caplog.records == []


class TimeLimitError(Exception):
    """What limits the time by a signal."""

    def __call__(self, *_: object) -> NoReturn:
        raise self

    def handle(self, *_: object) -> NoReturn:
        raise self


def exceed(*_: object) -> NoReturn:
    raise TimeLimitError


@pytest.fixture
def handle_signal() -> Iterator[Callable[[Any], object]]:
    """Handle a signal by a function, until the test is over."""
    before = signal.getsignal(signal.SIGTERM)
    yield lambda handler: signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGTERM, before)


@pytest.mark.swallowed
@pytest.mark.parametrize(
    "handler", [exceed, TimeLimitError(), TimeLimitError().handle, functools.partial(exceed, "soft")], ids=type
)
def test_what_the_handler_of_a_signal_raises_passes(
    handler: Any, handle_signal: Callable[[Any], object], caplog: pytest.LogCaptureFixture
) -> None:
    """It interrupts whatever is running, us as well, and is the application's."""

    @guarded
    def record() -> None:
        signal.raise_signal(signal.SIGTERM)

    handle_signal(handler)
    with pytest.raises(TimeLimitError):
        record()
    assert caplog.records == []


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
def test_a_fault_while_signals_are_handled_does_not_pass(handle_signal: Callable[[Any], object]) -> None:
    @guarded
    def record() -> None:
        raise TimeLimitError

    handle_signal(exceed)
    assert record() is None


class Tier(enum.Enum):
    """Of what the application asks for."""

    GOLD = "gold"


class Odd:
    """Handles signals, and lets nobody look at it."""

    def __call__(self, *_: object) -> None:
        """Handle one."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(name)


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, Odd(), Tier], ids=repr)
def test_a_fault_of_a_look_up_in_an_enumeration_does_not_pass(
    handler: Any, handle_signal: Callable[[Any], object]
) -> None:
    """What stands for no handler is of one, too."""

    @guarded
    def find() -> Tier:
        return Tier("silver")

    handle_signal(handler)
    assert find() is None


@pytest.mark.swallowed
def test_what_a_handler_raises_while_a_fault_is_looked_at_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    @guarded
    def fault() -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr(guard, "getsignal", exceed)
    with pytest.raises(TimeLimitError):
        fault()


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
def test_what_a_handlers_function_raises_in_another_thread_does_not_pass(
    handle_signal: Callable[[Any], object],
) -> None:
    """Handlers run in the main thread: there it was called by somebody else."""
    handle_signal(exceed)
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(guarded(exceed)).result() is None


def test_under_test_a_fault_surfaces() -> None:
    @guarded
    def fault() -> None:
        raise ValueError("a fault")

    with pytest.raises(ValueError, match=r"^a fault$"):
        fault()


# --- detach ---


@pytest.fixture
def outer() -> Context:
    """The context that was current before the test."""
    return otel_context.get_current()


@pytest.mark.parametrize("error", [None, ValueError(), GeneratorExit()], ids=repr)
def test_detach_restores_the_context_before(error: BaseException | None, outer: Context) -> None:
    token = attach(set_value("key", "ours"))
    assert get_value("key") == "ours"
    detach(token, error)
    assert otel_context.get_current() == outer


def test_a_coroutine_closed_in_another_context_detaches_silently(
    outer: Context, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = contextvars.copy_context()
    token = elsewhere.run(attach, set_value("key", "theirs"))
    detach(token, GeneratorExit())
    assert otel_context.get_current() == outer
    assert elsewhere.run(get_value, "key") == "theirs"
    assert caplog.records == []


def test_a_token_that_was_used_is_given_back_silently(caplog: pytest.LogCaptureFixture) -> None:
    token = attach(set_value("key", "ours"))
    detach(token)
    detach(token, GeneratorExit())
    assert caplog.records == []


@pytest.mark.noisy("opentelemetry")
@pytest.mark.parametrize("error", [None, ValueError()], ids=repr)
def test_any_other_detach_in_another_context_is_reported_as_ever(
    error: BaseException | None, caplog: pytest.LogCaptureFixture
) -> None:
    token = contextvars.copy_context().run(attach, set_value("key", "theirs"))
    detach(token, error)
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("opentelemetry.context", "Failed to detach context")
    ]


# --- moments ---

MOMENT = Moment(seconds=5.0, epoch=1_000_000_000_000_000_000)


@pytest.mark.parametrize(
    ("seconds", "date"),
    [(5.0, 0), (5.25, 250_000_000), (7.0, 2_000_000_000), (4.0, 0)],
    ids=["then", "later", "much later", "a clock that was set back"],
)
def test_a_reading_of_the_clock_that_measures_has_a_date_after_the_moment(seconds: float, date: int) -> None:
    assert MOMENT.at(seconds) - MOMENT.epoch == date
    assert MOMENT.after(seconds - MOMENT.seconds) == MOMENT.at(seconds)


# --- the bundle ---


NO_CONTENT = Content(ContentCapturingMode.NO_CONTENT, emits=False, hook=None, logger=get_logger("test"))


def bundle(recorder: Recorder, **config: Any) -> Telemetry:
    return Telemetry.build(Config(**config), LiveComponents(), NO_CONTENT, tracer_provider=recorder.tracer_provider)


@pytest.mark.parametrize("stage", semconv.STAGES)
def test_a_stage_that_is_chosen_gets_a_span(stage: str, recorder: Recorder) -> None:
    telemetry = bundle(recorder, stages=frozenset({stage}))
    parent = telemetry.tracer.start_span("parent")
    started = telemetry.start_stage(stage, set_span_in_context(parent), {"url.path": "/v1"}, start_time=1_000)
    assert started is not None
    end_stage(started, end_time=2_000)
    (span,) = recorder.spans()
    assert (span.name, span.kind, span.start_time, span.end_time) == (
        f"ai_lib.{stage}",
        SpanKind.INTERNAL,
        1_000,
        2_000,
    )
    assert span.parent == parent.get_span_context()
    assert dict(span.attributes or {}) == {"ai_lib.stage": stage, "url.path": "/v1"}
    assert span.status.status_code is StatusCode.UNSET
    scope = span.instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.version, scope.schema_url) == (
        "opentelemetry_instrumentation_ailib",
        __version__,
        "https://opentelemetry.io/schemas/1.37.0",
    )


@pytest.mark.parametrize("stage", semconv.STAGES)
def test_a_stage_that_is_not_chosen_gets_none(stage: str, recorder: Recorder) -> None:
    others = bundle(recorder, stages=frozenset(semconv.STAGES) - {stage})
    assert others.start_stage(stage, Context(), {}) is None
    end_stage(None, error="timeout", attributes={"url.path": "/v1"})
    assert recorder.spans() == []


def test_a_stage_that_failed_has_an_error_type_and_an_error_status(recorder: Recorder) -> None:
    telemetry = bundle(recorder)
    span = telemetry.start_stage(semconv.EVENT_MAP, Context(), {})
    end_stage(span, error="timeout", attributes={"ai_lib.stream.events": 2})
    (ended,) = recorder.spans()
    assert ended.parent is None
    assert ended.status.status_code is StatusCode.ERROR
    assert ended.status.description is None
    assert dict(ended.attributes or {}) == {
        "ai_lib.stage": "event.map",
        "ai_lib.stream.events": 2,
        "error.type": "timeout",
    }
