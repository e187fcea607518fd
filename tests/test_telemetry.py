"""The bundle, and what keeps our faults and the application's secrets to ourselves."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import subprocess
import sys
from typing import Any

import ai_lib_python  # noqa: F401 - where a call fails, the runtime is imported.
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry._logs import get_logger
from opentelemetry.context import Context, attach, get_value, set_value
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.util.genai.types import ContentCapturingMode

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.config import Config
from opentelemetry_instrumentation_ailib.content import Content
from opentelemetry_instrumentation_ailib.context import detach
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.live import LiveComponents
from opentelemetry_instrumentation_ailib.masking import safe_message
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
    assert [(record.levelno, record.getMessage()) for record in records] == [
        (logging.WARNING, f"Telemetry of ai-lib-python is incomplete: a fault in {site}.{name} (reported once)")
        for name in ("first", "second")
    ]
    assert [str(record.exc_info[1]) for record in records if record.exc_info] == ["first fault", "'second fault'"]


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


# --- messages ---

API_KEY = "sk-abcdefghijklmnopqrstuvwxyz0123456789"


@pytest.mark.parametrize(
    ("message", "secret", "expected"),
    [
        ("Connection failed", None, "Connection failed"),
        ("", None, None),
        (f"bad key {API_KEY}!", None, "bad key sk-***REDACTED***!"),
        ("Bearer abc.def refused", None, "Bearer ***REDACTED*** refused"),
        ("no such url /v1?api_key=abc", None, "no such url /v1?api_key=***REDACTED***"),
        ("header Authorization: Basic", None, "header Authorization: ***REDACTED***"),
        ("you sent hunter2, twice hunter2", "hunter2", "you sent ***REDACTED***, twice ***REDACTED***"),
        ("GET /v1?key=s3%2Fcr%2Bt%20%3D", "s3/cr+t =", "GET /v1?key=***REDACTED***"),
        ("GET /v1?key=s3/cr%2Bt%20%3D", "s3/cr+t =", "GET /v1?key=***REDACTED***"),
        ("GET /v1?key=s3%2Fcr%2Bt+%3D", "s3/cr+t =", "GET /v1?key=***REDACTED***"),
        ("you sent hunter2", "", "you sent hunter2"),
        ("you sent hunter2", None, "you sent hunter2"),
        ("x" * 513, None, "x" * 512),
        ("é\ud800", None, "é?"),
        # Cut only when nothing in it can be secret any more.
        ("x" * 500 + "hunter2-hunter2-hunter2", "hunter2-hunter2-hunter2", "x" * 500 + "***REDACTED*"),
        ("x" * 500 + " " + API_KEY, None, "x" * 500 + " sk-***REDAC"),
        ("x" * 2040 + API_KEY, None, "x" * 512),
    ],
)
def test_a_message_is_masked_and_bounded(message: str, secret: str | None, expected: str | None) -> None:
    assert safe_message(ValueError(message), {secret} if secret else ()) == expected


SECRETS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/=", min_size=16, max_size=64)


@given(st.text(max_size=3000), SECRETS, st.text(max_size=600))
def test_no_message_quotes_the_credential(before: str, secret: str, after: str) -> None:
    message = safe_message(ValueError(f"{before}{secret}{after}"), {secret})
    assert message is not None
    assert secret not in message
    assert len(message) <= 512
    message.encode("utf-8")


@pytest.mark.parametrize(
    "first", ["", "import ai_lib_python.telemetry.logger as theirs"], ids=["unimported", "imported"]
)
def test_masking_imports_nothing_of_the_runtimes_telemetry(first: str) -> None:
    script = f"""
import sys
import ai_lib_python
{first}
before = set(sys.modules)
from opentelemetry_instrumentation_ailib.masking import safe_message
assert safe_message(ValueError("{API_KEY}")) == "sk-***REDACTED***"
print(sorted(name for name in set(sys.modules) - before if "ai_lib_python" in name or "_masker" in name))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


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


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "input_value='You sent sk/Wb4+rX8nQ1...L9kD~5jF2_hC7!'",
            "input_value='You sent ***REDACTED***...***REDACTED***!'",
        ),
        ("sk/W...F2_hC7 or so", "***REDACTED***...***REDACTED*** or so"),
        ("it took sk/ ... and so on", "it took sk/ ... and so on"),
    ],
)
def test_pieces_of_a_credential_beside_an_ellipsis_are_taken_out(message: str, shown: str) -> None:
    """Pydantic abbreviates what it quotes."""
    assert safe_message(ValueError(message), ["sk/Wb4+rX8nQ1vT6yM3zL9kD~5jF2_hC7"]) == shown
