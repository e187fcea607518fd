"""The level TRACE, and what every record has: its fields, its ids, its line, the context that it is logged in."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.context import Context, attach, detach, get_current, set_value
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, get_current_span, set_span_in_context

from opentelemetry_instrumentation_ailib import loggers
from opentelemetry_instrumentation_ailib.loggers import RESILIENCE, TRACE, emit, forget_trace_level, name_trace_level

Names = tuple[dict[int, str], dict[str, int]]


def level_names() -> Names:
    """Return what logging knows of names and levels."""
    return dict(logging._levelToName), dict(logging._nameToLevel)


@pytest.fixture(autouse=True)
def names() -> Iterator[Names]:
    """Return the names of the levels before the test, and see to it that they are the same after it."""
    before = level_names()
    yield before
    for now, then in zip((logging._levelToName, logging._nameToLevel), before, strict=True):
        now.clear()  # type: ignore[attr-defined]
        now.update(then)  # type: ignore[attr-defined]


# --- the level ---


def test_importing_names_no_level() -> None:
    program = "import logging, opentelemetry_instrumentation_ailib as _; print(logging.getLevelName(5))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "Level 5\n"


def test_the_level_is_named_and_its_name_taken_back_without_a_trace(names: Names) -> None:
    name_trace_level()
    assert (logging.getLevelName(5), logging.getLevelName("TRACE")) == ("TRACE", 5)
    logging.getLogger("ai_lib.frame").setLevel("TRACE")
    logging.getLogger("ai_lib.frame").setLevel(logging.NOTSET)
    forget_trace_level()
    assert level_names() == names


def test_naming_twice_is_taken_back_at_once(names: Names) -> None:
    name_trace_level()
    name_trace_level()
    forget_trace_level()
    assert level_names() == names
    forget_trace_level()
    assert level_names() == names


@pytest.mark.parametrize("name", ["FINE", "TRACE"])
def test_a_name_that_the_application_gave_the_level_stays(name: str) -> None:
    logging.addLevelName(5, name)
    given = level_names()
    name_trace_level()
    assert level_names() == given
    forget_trace_level()
    assert level_names() == given


def test_a_name_that_the_application_gave_another_level_stays_there() -> None:
    logging.addLevelName(7, "TRACE")
    given = level_names()
    name_trace_level()
    assert level_names() == given
    forget_trace_level()
    assert level_names() == given


@pytest.mark.parametrize("name", ["FINE", "TRACE"])
def test_a_name_that_the_application_gave_the_level_later_stays(name: str) -> None:
    name_trace_level()
    logging.addLevelName(5, name)
    given = level_names()
    forget_trace_level()
    assert level_names() == given


# --- records ---


@pytest.fixture
def span() -> Span:
    """Return a recording span that is not current."""
    return TracerProvider().get_tracer("test").start_span("operation", Context())


@pytest.fixture
def factory() -> Iterator[Any]:
    """Return a function that sets the record factory, for this test."""
    before = logging.getLogRecordFactory()
    yield logging.setLogRecordFactory
    logging.setLogRecordFactory(before)


def logged(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    """Return the one record that was logged."""
    (record,) = caplog.records
    return record


def test_a_record_has_its_fields_and_the_ids_of_the_contexts_span(caplog: pytest.LogCaptureFixture, span: Span) -> None:
    fields = {"ai_lib.one": 1, "ai_lib.none": None, "ai_lib.empty": "", "ai_lib.false": False}
    emit(RESILIENCE, logging.WARNING, set_span_in_context(span), fields, "%s and %d", "one", 2)
    record, ids = logged(caplog), span.get_span_context()
    assert (record.name, record.levelno, record.getMessage()) == ("ai_lib.resilience", logging.WARNING, "one and 2")
    assert (record.pathname, record.funcName) == (__file__, sys._getframe().f_code.co_name)
    assert (record.trace_id, record.span_id) == (f"{ids.trace_id:032x}", f"{ids.span_id:016x}")
    assert {name: value for name, value in vars(record).items() if name.startswith("ai_lib.")} == {
        "ai_lib.one": 1,
        "ai_lib.empty": "",
        "ai_lib.false": False,
    }


def test_outside_of_a_trace_the_ids_are_zeros_so_that_a_format_with_them_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    emit(RESILIENCE, logging.WARNING, Context(), {}, "message")
    line = logging.Formatter("%(trace_id)s/%(span_id)s %(message)s").format(logged(caplog))
    assert line == f"{'0' * 32}/{'0' * 16} message"


def test_the_context_is_current_while_the_record_is_made_and_handled_and_not_after(factory: Any, span: Span) -> None:
    context, outside = set_value("mine", True, set_span_in_context(span)), get_current()
    seen: list[Any] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(("handled", get_current_span() is span, get_current() is context))

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        seen.append(("made", get_current_span() is span, get_current() is context))
        return logging.LogRecord(*args, **kwargs)

    factory(make)
    handler = Listening()
    RESILIENCE.addHandler(handler)
    emit(RESILIENCE, logging.WARNING, context, {}, "message")
    RESILIENCE.removeHandler(handler)
    assert seen == [("made", True, True), ("handled", True, True)]
    assert get_current() is outside


def test_the_context_is_left_when_a_handler_raises(span: Span) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise LookupError("broken")

    handler, outside = Broken(), get_current()
    RESILIENCE.addHandler(handler)
    with pytest.raises(LookupError):
        emit(RESILIENCE, logging.WARNING, set_span_in_context(span), {}, "message")
    RESILIENCE.removeHandler(handler)
    assert get_current() is outside


def test_what_a_record_factory_of_the_application_sets_stays(
    factory: Any, caplog: pytest.LogCaptureFixture, span: Span
) -> None:
    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        vars(record).update({"trace_id": "mine", "outcome": "mine", "from": "mine"})
        return record

    factory(make)
    fields = {"outcome": "ours", "from": "ours", "to": "ours"}
    emit(RESILIENCE, logging.WARNING, set_span_in_context(span), fields, "message")
    record = vars(logged(caplog))
    assert [record[name] for name in ("trace_id", "outcome", "from", "to")] == ["mine", "mine", "mine", "ours"]
    assert record["span_id"] == f"{span.get_span_context().span_id:016x}"


def test_a_field_cannot_take_the_place_of_what_every_record_has(caplog: pytest.LogCaptureFixture) -> None:
    emit(RESILIENCE, logging.WARNING, Context(), {"name": "ours", "msg": "ours", "args": "ours"}, "%s", "message")
    record = logged(caplog)
    assert (record.name, record.getMessage()) == ("ai_lib.resilience", "message")


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\u2028", "\ud800", "\0"])
def test_a_name_cannot_forge_a_line(caplog: pytest.LogCaptureFixture, character: str) -> None:
    emit(RESILIENCE, logging.WARNING, Context(), {}, "%s failed", f"gpt{character}ERROR é 模型")
    assert logged(caplog).getMessage() == "gpt ERROR é 模型 failed"


def test_a_filter_of_the_application_can_drop_a_record(caplog: pytest.LogCaptureFixture) -> None:
    def nothing(record: logging.LogRecord) -> bool:
        return False

    RESILIENCE.addFilter(nothing)
    emit(RESILIENCE, logging.WARNING, Context(), {}, "message")
    RESILIENCE.removeFilter(nothing)
    assert caplog.records == []


def test_what_is_current_for_others_does_not_become_a_records_place(
    caplog: pytest.LogCaptureFixture, span: Span
) -> None:
    """The ids are those of the operation's context, whatever the consumer of a stream has made current."""
    token = attach(set_span_in_context(TracerProvider().get_tracer("test").start_span("consumer")))
    emit(RESILIENCE, logging.WARNING, set_span_in_context(span), {}, "message")
    detach(token)
    assert logged(caplog).trace_id == f"{span.get_span_context().trace_id:032x}"


def test_there_is_one_logger_for_each_concern() -> None:
    found = (getattr(loggers, name) for name in ("REQUEST", "RESILIENCE", "STREAM", "PROTOCOL", "PIPELINE", "FRAME"))
    assert [logger.name for logger in found] == [
        "ai_lib.request",
        "ai_lib.resilience",
        "ai_lib.stream",
        "ai_lib.protocol",
        "ai_lib.pipeline",
        "ai_lib.frame",
    ]
    assert TRACE == 5


# --- where nobody has set up logging ---


def test_nothing_appears_on_standard_error_where_nobody_has_set_up_logging() -> None:
    script = """
import logging
from opentelemetry_instrumentation_ailib import loggers
loggers.begin()
loggers.RESILIENCE.warning("while instrumented")
loggers.end()
loggers.RESILIENCE.warning("as any logger's, after it")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("", "as any logger's, after it\n")
