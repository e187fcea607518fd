"""Spans that users open with the runtime's ``Tracer.span``: in the OpenTelemetry trace, and still the runtime's."""

# What the runtime itself does not declare.
# mypy: disable-error-code="call-arg, attr-defined"

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ai_lib_python import AiClient
from ai_lib_python.telemetry import (
    InMemoryExporter,
    SpanContext,
    SpanKind,
    SpanStatus,
    Tracer,
    get_current_span,
    get_current_trace_id,
)
from grpc_receiver import GrpcReceiver, grpc_receiver
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from differential import encoded
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from provider import body, completion, provider
from recorder import Recorder


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Return trace and span id as the runtime writes them."""
    return format_trace_id(span.context.trace_id), format_span_id(span.context.span_id)


# --- parents and children ---


async def test_a_users_span_is_the_parent_of_calls_and_a_child_of_the_applications(instrumented: Recorder) -> None:
    tracer = Tracer("mine")
    application = instrumented.tracer_provider.get_tracer("shop")
    async with provider(body(completion())) as server:
        with application.start_as_current_span("POST /chat"), tracer.span("answer"):
            client = await AiClient.create("openai/gpt-4o", base_url=server.base_url)
            await client.chat().user("Hello?").execute()
            await client.close()
    (request,) = (span for span in instrumented.spans() if span.parent is None)
    (answer,) = instrumented.children(request)
    assert (request.name, answer.name) == ("POST /chat", "answer")
    assert [child.name for child in instrumented.children(answer)] == ["ai_lib.protocol.load", "chat gpt-4o"]
    scope = answer.instrumentation_scope
    assert scope is not None
    assert scope.name == "mine"


def test_spans_of_both_kinds_nest_in_each_other(instrumented: Recorder) -> None:
    tracer = Tracer("mine")
    application = instrumented.tracer_provider.get_tracer("shop")
    with tracer.span("one"), application.start_as_current_span("two"), tracer.span("three"):
        pass
    one, two, three = (instrumented.span(name) for name in ("one", "two", "three"))
    assert one.parent is None
    assert instrumented.children(one) == [two]
    assert instrumented.children(two) == [three]


def test_both_spans_have_the_same_ids(instrumented: Recorder) -> None:
    exporter = InMemoryExporter()
    tracer = Tracer("mine", exporter)
    with tracer.span("one"), tracer.span("two") as span:
        assert get_current_span() is span
        assert get_current_trace_id() == format_trace_id(trace.get_current_span().get_span_context().trace_id)
    two, one = exporter.get_spans()
    assert (two.trace_id, two.span_id) == ids(instrumented.span("two"))
    assert (one.trace_id, one.span_id) == ids(instrumented.span("one"))
    assert two.parent_context == one.context
    assert one.parent_context is None
    assert two.context.to_w3c_traceparent().startswith(f"00-{one.trace_id}-{two.span_id}-0")


def test_a_started_span_has_the_current_one_for_a_parent(instrumented: Recorder) -> None:
    tracer = Tracer("mine")
    application = instrumented.tracer_provider.get_tracer("shop")
    with application.start_as_current_span("POST /chat"):
        span = tracer.start_span("later")
    assert span.parent_context is not None
    assert (span.trace_id, span.parent_context.span_id) == ids(instrumented.span("POST /chat"))
    assert instrumented.names() == ["POST /chat"]


def test_a_parent_that_is_given_stays(instrumented: Recorder) -> None:
    tracer = Tracer("mine")
    mine = SpanContext.generate()
    with instrumented.tracer_provider.get_tracer("shop").start_as_current_span("POST /chat"):
        by_name = tracer.start_span("later", parent=mine)
        by_position = tracer.start_span("later", SpanKind.INTERNAL, mine)
    assert by_name.parent_context is mine
    assert by_position.parent_context is mine


async def test_each_task_has_its_own(instrumented: Recorder) -> None:
    tracer = Tracer("mine")

    async def work(name: str) -> None:
        with tracer.span(name):
            await asyncio.sleep(0)
            with tracer.span(f"{name}, inside"):
                await asyncio.sleep(0)

    await asyncio.gather(work("a"), work("b"))
    for name in ("a", "b"):
        (inside,) = instrumented.children(instrumented.span(name))
        assert inside.name == f"{name}, inside"


def test_it_decorates_functions_as_ever(instrumented: Recorder) -> None:
    tracer = Tracer("mine")

    @tracer.span("work")
    def work(value: int) -> int:
        return value + 1

    assert (work(1), work(2)) == (2, 3)
    assert instrumented.names() == ["work", "work"]


# --- what is on them ---


def test_what_the_user_noted_is_on_the_span(instrumented: Recorder) -> None:
    tracer = Tracer("mine")
    with tracer.span("work", kind=SpanKind.CLIENT, attributes={"first": 1}) as span:
        span.set_attributes({"a": "text", "b": 2.5, "c": True, "d": ["x", 1], "e": {"k": 1}, "f": None, "g": 2**70})
        span.add_event("step", {"number": 1})
    found = instrumented.span("work")
    assert dict(found.attributes or {}) == {
        "first": 1,
        "a": "text",
        "b": 2.5,
        "c": True,
        "d": ("x", "1"),
        "e": "{'k': 1}",
        "g": str(2**70),
    }
    assert [(event.name, dict(event.attributes or {})) for event in found.events] == [("step", {"number": 1})]
    assert found.kind is trace.SpanKind.CLIENT
    assert (found.status.status_code, found.status.description) == (StatusCode.OK, None)
    assert found.start_time == int(span.start_time * 1e9)
    assert span.end_time is not None
    assert found.end_time == int(span.end_time * 1e9)


def test_an_exception_passes_untouched_and_is_on_both_without_its_secrets(instrumented: Recorder) -> None:
    exporter = InMemoryExporter()
    error = ValueError("no key Bearer abc")
    with pytest.raises(ValueError, match="no key") as raised, Tracer("mine", exporter).span("work"):
        raise error
    assert raised.value is error
    (mine,) = exporter.get_spans()
    assert (mine.status, mine.status_message) == (SpanStatus.ERROR, "no key Bearer abc")
    found = instrumented.span("work")
    masked = "no key Bearer ***REDACTED***"
    assert (found.status.status_code, found.status.description) == (StatusCode.ERROR, masked)
    (event,) = found.events
    expected = {"exception.type": "ValueError", "exception.message": masked}
    assert (event.name, dict(event.attributes or {})) == ("exception", expected)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError(), StopIteration("x"), GeneratorExit()])
def test_every_kind_of_exception_passes_and_the_context_is_as_before(
    error: BaseException, instrumented: Recorder
) -> None:
    before = trace.get_current_span()
    with pytest.raises(type(error)) as raised, Tracer("mine").span("work"):
        raise error
    assert raised.value is error
    assert trace.get_current_span() is before
    assert get_current_span() is None
    assert instrumented.names() == ["work"]


@pytest.mark.parametrize("odd", ["name", "event", "key"])
def test_a_name_with_a_lone_surrogate_is_exportable(odd: str, instrumented: Recorder) -> None:
    """That of a file may have one, and an exporter would lose the whole batch over it."""
    names = dict.fromkeys(["name", "event", "key"], "caf\u00e9") | {odd: "caf\udce9"}
    with Tracer("mine").span(names["name"], attributes={names["key"]: 1}) as span:
        span.add_event(names["event"], {names["key"]: [names["key"]]})
    assert encoded(instrumented)
    shown = {what: name.replace("\udce9", "?") for what, name in names.items()}
    found = instrumented.span(shown["name"])
    assert dict(found.attributes or {}) == {shown["key"]: 1}
    expected = [(shown["event"], {shown["key"]: (shown["key"],)})]
    assert [(event.name, dict(event.attributes or {})) for event in found.events] == expected


@pytest.mark.parametrize("odd", [SpanKind.CLIENT, "CLIENT"])
def test_a_kind_may_be_the_string_that_it_equals(odd: Any, instrumented: Recorder) -> None:
    with Tracer("mine").span("work", kind=odd):
        pass
    assert instrumented.span("work").kind is trace.SpanKind.CLIENT


@pytest.mark.parametrize("odd", [SpanStatus.ERROR, "ERROR"])
def test_a_status_may_be_the_string_that_it_equals(odd: Any, instrumented: Recorder) -> None:
    with Tracer("mine").span("work") as span:
        span.set_status(odd, "broken")
    found = instrumented.span("work").status
    assert (found.status_code, found.description) == (StatusCode.ERROR, "broken")


class Unspeakable:
    """Has no text."""

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
def test_what_cannot_be_noted_keeps_no_span_open(instrumented: Recorder) -> None:
    with Tracer("mine").span("work") as span:
        span.set_status(SpanStatus.ERROR, "broken")
        span.set_attribute("odd", Unspeakable())
    found = instrumented.span("work")
    assert (found.status.status_code, dict(found.attributes or {})) == (StatusCode.ERROR, {})


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
def test_an_attribute_that_has_no_text_costs_no_other_and_not_the_span(instrumented: Recorder) -> None:
    with Tracer("mine").span("work", attributes={"odd": Unspeakable(), "even": 2}):
        pass
    assert dict(instrumented.span("work").attributes or {}) == {"even": 2}


class Counted:
    """Counts how often it is asked for its text."""

    asked = 0

    def __repr__(self) -> str:
        Counted.asked += 1
        return "x"


@pytest.mark.parametrize("gather", [list, tuple, lambda all_: {"all": all_}, lambda all_: [{"some": all_}], set])
def test_of_a_great_many_things_the_first_are_told(gather: Callable[[Any], Any], instrumented: Recorder) -> None:
    Counted.asked = 0
    with Tracer("mine").span("work", attributes={"all": gather([Counted() for _ in range(10_000)])}):
        pass
    value = (instrumented.span("work").attributes or {})["all"]
    assert value == ("x",) * 256 or "x, x, x" in str(value)
    assert Counted.asked <= 2 * 256  # When it begins, and when it ends.


@pytest.mark.parametrize("said", [{"k": (1,), "s": {2}}, {"b": b"x", "n": [None, {}]}, frozenset({1}), set(), b"ab"])
def test_what_is_small_is_told_as_it_tells_itself(said: Any, instrumented: Recorder) -> None:
    with Tracer("mine").span("work", attributes={"said": said}):
        pass
    assert dict(instrumented.span("work").attributes or {}) == {"said": str(said)}


@pytest.mark.usefixtures("instrumented")
def test_arguments_that_do_not_fit_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="name"):
        Tracer("mine").span()


# --- where there is nothing to join ---


def test_a_span_below_one_that_is_older_than_the_instrumentation_stays_in_its_trace(recorder: Recorder) -> None:
    tracer = Tracer("mine", InMemoryExporter())
    with tracer.span("older") as older:
        AiLibInstrumentor().instrument(**recorder.providers)
        try:
            own = recorder.tracer_provider.get_tracer("app").start_as_current_span("own")
            with (
                tracer.span("outer") as outer,
                tracer.span("inner") as inner,
                own,
                tracer.span("innermost") as innermost,
            ):
                pass
        finally:
            AiLibInstrumentor().uninstrument()
    assert (outer.trace_id, outer.parent_context) == (older.trace_id, older.context)
    assert (inner.trace_id, inner.parent_context) == (older.trace_id, outer.context)
    spans = {span.name: span for span in recorder.spans()}
    assert {name: span.parent and span.parent.span_id for name, span in spans.items()} == {
        "outer": None,
        "inner": spans["outer"].context.span_id,
        "own": spans["inner"].context.span_id,
        "innermost": spans["own"].context.span_id,
    }
    assert innermost.parent_context is not None
    assert innermost.parent_context.span_id == f"{spans['own'].context.span_id:016x}"


def test_without_an_sdk_spans_below_a_remote_parent_nest() -> None:
    exporter, ids = InMemoryExporter(), trace.SpanContext(1, 2, is_remote=True)
    others = trace.SpanContext(3, 4, is_remote=True)
    AiLibInstrumentor().instrument()
    try:
        with trace.use_span(trace.NonRecordingSpan(ids)), Tracer("mine", exporter).span("one") as one:
            assert trace.get_current_span().get_span_context() == ids
            with Tracer("mine", exporter).span("two") as two, Tracer("mine", exporter).span("three") as three:
                pass
            with trace.use_span(trace.NonRecordingSpan(others)), Tracer("mine", exporter).span("other") as other:
                pass
            with Tracer("mine", exporter).span("four") as four:
                pass
    finally:
        AiLibInstrumentor().uninstrument()
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert (one.trace_id, one.parent_context) == (f"{1:032x}", SpanContext(f"{1:032x}", f"{2:016x}", 0))
    assert (two.trace_id, two.parent_context) == (one.trace_id, one.context)
    assert (three.trace_id, three.parent_context) == (one.trace_id, two.context)
    assert (other.trace_id, other.parent_context) == (f"{3:032x}", SpanContext(f"{3:032x}", f"{4:016x}", 0))
    assert (four.trace_id, four.parent_context) == (one.trace_id, one.context)


def test_without_a_provider_the_runtimes_span_is_as_before() -> None:
    exporter = InMemoryExporter()
    AiLibInstrumentor().instrument()
    try:
        with Tracer("mine", exporter).span("one"), Tracer("mine", exporter).span("two"):
            pass
    finally:
        AiLibInstrumentor().uninstrument()
    two, one = exporter.get_spans()
    assert (two.trace_id, two.parent_context) == (one.trace_id, one.context)
    assert len({two.span_id, one.span_id, "0" * 16}) == 3


def test_suppressed_it_leaves_no_span(instrumented: Recorder) -> None:
    exporter = InMemoryExporter()
    with suppress_instrumentation(), Tracer("mine", exporter).span("work"):
        pass
    assert instrumented.names() == []
    assert [span.name for span in exporter.get_spans()] == ["work"]


def test_a_span_open_at_uninstrument_ends(recorder: Recorder) -> None:
    AiLibInstrumentor().instrument(**recorder.providers)
    with Tracer("mine").span("work"):
        AiLibInstrumentor().uninstrument()
    with Tracer("mine").span("later"):
        pass
    assert recorder.names() == ["work"]


def test_documented_api_false_leaves_the_runtimes_spans_alone(recorder: Recorder) -> None:
    AiLibInstrumentor().instrument(**recorder.providers, documented_api=False)
    with Tracer("mine").span("work"):
        pass
    AiLibInstrumentor().uninstrument()
    assert recorder.names() == []


# --- a tracer with an endpoint ---


@pytest.fixture
def otlp() -> Iterator[GrpcReceiver]:
    """An OTLP/gRPC receiver."""
    with grpc_receiver() as received:
        yield received


async def test_a_tracers_own_spans_go_to_its_endpoint_with_its_clients(
    instrumented: Recorder, otlp: GrpcReceiver
) -> None:
    tracer = Tracer(service_name="my-app", endpoint=otlp.endpoint)
    async with provider(body(completion())) as server:
        builder: Any = AiClient.builder().model("openai/gpt-4o").base_url(server.base_url)
        client = await builder.tracer(tracer).build()
        with tracer.span("answer"):
            await client.chat().user("Hello?").execute()
        await client.close()
    tracer.shutdown()
    (answer,) = (span for span in otlp.spans if span.name == "answer")
    assert ("chat gpt-4o", "answer") in otlp.tree(answer.trace_id)
    assert (answer.scope, answer.resource["service.name"]) == ("my-app", "my-app")
    assert instrumented.names() == []
