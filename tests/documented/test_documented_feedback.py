"""``FeedbackCollector`` and ``report_feedback()``: evaluations in the trace of the call that they are about."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ai_lib_python import AiClient, telemetry
from ai_lib_python.telemetry import (
    ChoiceSelectionFeedback,
    CorrectionFeedback,
    InMemoryFeedbackSink,
    NoopFeedbackSink,
    RatingFeedback,
    RegenerateFeedback,
    StopFeedback,
    TextFeedback,
    ThumbsFeedback,
    report_feedback,
    set_feedback_sink,
)
from opentelemetry.trace import format_span_id, format_trace_id

from opentelemetry_instrumentation_ailib import AiLibInstrumentor, FeedbackCollector, FeedbackResult
from opentelemetry_instrumentation_ailib.documented import feedback as module
from provider import body, completion, delta, events, provider
from receiver import receiver
from recorder import Recorder

INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@pytest.fixture(autouse=True)
def sink() -> Iterator[InMemoryFeedbackSink]:
    """A sink of this test's own."""
    sink = InMemoryFeedbackSink()
    set_feedback_sink(sink)
    yield sink
    set_feedback_sink(NoopFeedbackSink())


@pytest.fixture
def with_content(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """The runtime instrumented with content on events."""
    monkeypatch.setenv(CONTENT, "EVENT_ONLY")
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "false")
    AiLibInstrumentor().instrument(**recorder.providers)
    yield recorder
    AiLibInstrumentor().uninstrument()


async def rated_call(script: Any = None) -> Any:
    """Make a call and return its statistics."""
    async with provider(script or body(completion())) as server:
        client = await AiClient.create("openai/gpt-4o", base_url=server.base_url)
        _, stats = await client.chat().user("Hello?").execute_with_stats()
        await client.close()
    return stats


def evaluation(recorder: Recorder) -> tuple[tuple[str, str], dict[str, Any]]:
    """Return the place and the attributes of the one event."""
    (event,) = recorder.events()
    assert event.event_name == "gen_ai.evaluation.result"
    return (format_trace_id(event.trace_id), format_span_id(event.span_id)), dict(event.attributes)


def place(recorder: Recorder) -> tuple[str, str]:
    """Return where the call's span is."""
    context = recorder.span("chat gpt-4o").context
    return format_trace_id(context.trace_id), format_span_id(context.span_id)


NOWHERE = ("0" * 32, "0" * 16)
RATED = {
    "gen_ai.evaluation.name": "rating",
    "gen_ai.evaluation.score.value": 0.75,
    "gen_ai.evaluation.score.label": "4/5",
}
ANSWERED = {"gen_ai.response.id": "chatcmpl-1"}


# --- where it goes ---


async def test_a_rating_is_in_the_trace_of_its_call(instrumented: Recorder) -> None:
    stats = await rated_call()
    found = FeedbackCollector().record(request_id=stats.request_id, rating=4, comment="Helpful")
    assert found is FeedbackResult.RECORDED
    assert evaluation(instrumented) == (
        place(instrumented),
        {**RATED, **ANSWERED, "ai_lib.request.id": stats.request_id},
    )
    assert instrumented.points("ai_lib.feedback") == [({"type": "rating"}, 1)]
    assert instrumented.sums("ai_lib.feedback.score") == [({"type": "rating"}, 0.75)]
    assert instrumented.bounds("ai_lib.feedback.score") == tuple(number / 10 for number in range(11))


async def test_its_exemplars_lead_to_the_call(instrumented: Recorder) -> None:
    stats = await rated_call()
    FeedbackCollector().record(request_id=stats.request_id, rating=4)
    (point,) = instrumented._metrics()["ai_lib.feedback.score"].data.data_points
    (exemplar,) = point.exemplars
    assert (format_trace_id(exemplar.trace_id), format_span_id(exemplar.span_id)) == place(instrumented)


async def test_it_is_not_in_the_trace_of_the_request_that_brings_it(instrumented: Recorder) -> None:
    stats = await rated_call()
    with instrumented.tracer_provider.get_tracer("shop").start_as_current_span("POST /feedback"):
        FeedbackCollector().record(request_id=stats.request_id, rating=4)
    assert evaluation(instrumented)[0] == place(instrumented)


async def test_a_stream_can_be_rated_while_it_runs(instrumented: Recorder) -> None:
    async with provider(events(delta("Hel"), delta("lo", finish="stop"))) as server:
        client = await AiClient.create("openai/gpt-4o", base_url=server.base_url)
        stream, stats = await client.chat().user("Hello?").stream_with_stats()
        async for _ in stream:
            await report_feedback(StopFeedback(stats.client_request_id, tokens_generated=1))
            break
        await stream.aclose()
        await client.close()
    where, attributes = evaluation(instrumented)
    assert where == place(instrumented)
    assert attributes == {"gen_ai.evaluation.name": "stop", "ai_lib.request.id": stats.client_request_id}


async def test_a_call_that_is_not_known_leaves_it_outside_of_any_trace(instrumented: Recorder) -> None:
    with instrumented.tracer_provider.get_tracer("shop").start_as_current_span("POST /feedback"):
        found = FeedbackCollector().record(request_id="unknown", rating=4)
    assert found is FeedbackResult.UNLINKED
    assert evaluation(instrumented) == (NOWHERE, {**RATED, "ai_lib.request.id": "unknown"})
    assert instrumented.points("ai_lib.feedback") == [({"type": "rating"}, 1)]


@pytest.mark.parametrize("request_id", [None, "", 7, ["x"]])
async def test_an_id_that_is_none_is_not_known(request_id: Any, instrumented: Recorder) -> None:
    await rated_call()
    assert FeedbackCollector().record(request_id=request_id, rating=4) is FeedbackResult.UNLINKED
    assert evaluation(instrumented) == (NOWHERE, RATED)


async def test_the_oldest_call_is_forgotten_first(instrumented: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CALLS", 2)
    calls = [await rated_call() for _ in range(3)]
    found = [FeedbackCollector().record(request_id=stats.request_id, rating=4) for stats in calls]
    assert found == [FeedbackResult.UNLINKED, FeedbackResult.RECORDED, FeedbackResult.RECORDED]


# --- by traceparent ---


async def test_a_traceparent_leads_to_the_call_when_its_id_is_forgotten(
    instrumented: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CALLS", 0)
    stats = await rated_call()
    found = FeedbackCollector().record(request_id=stats.request_id, rating=4, traceparent=stats.traceparent)
    assert found is FeedbackResult.RECORDED
    assert evaluation(instrumented) == (place(instrumented), {**RATED, "ai_lib.request.id": stats.request_id})


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{'0' * 32}-{'0' * 16}-01", 7])
async def test_a_traceparent_that_is_none_leaves_it_to_the_id(traceparent: Any, instrumented: Recorder) -> None:
    stats = await rated_call()
    found = FeedbackCollector().record(request_id=stats.request_id, rating=4, traceparent=traceparent)
    assert (found, evaluation(instrumented)[0]) == (FeedbackResult.RECORDED, place(instrumented))


OTHER_PROCESS = """
import sys
from ai_lib_python.telemetry import FeedbackCollector
print(FeedbackCollector().record(request_id=sys.argv[1], rating=2, traceparent=sys.argv[2]).value)
"""


async def test_feedback_recorded_in_another_process_joins_the_trace(instrumented: Recorder) -> None:
    stats = await rated_call()
    with receiver() as received:
        done = await asyncio.to_thread(
            subprocess.run,
            [INSTRUMENT, sys.executable, "-c", OTHER_PROCESS, stats.request_id, stats.traceparent],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
                "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "recorded\n", "")
    (log,) = received.logs
    assert (log.event_name, (log.trace_id, log.span_id)) == ("gen_ai.evaluation.result", place(instrumented))
    assert log.attributes["gen_ai.evaluation.score.value"] == 0.25


# --- what it says ---

COMMON: dict[str, Any] = {"request_id": "unknown"}
TYPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "choice_selection": (
        ChoiceSelectionFeedback(**COMMON, chosen_index=1, rejected_indices=[0], ui_context={"user": "private"}),
        {"gen_ai.evaluation.score.label": "1"},
    ),
    "rating": (RatingFeedback(**COMMON, rating=4), RATED),
    "rating.tone": (
        RatingFeedback(**COMMON, rating=2, max_rating=3, category="tone", comment="Well."),
        {"gen_ai.evaluation.score.value": 0.5, "gen_ai.evaluation.score.label": "2/3"},
    ),
    "thumbs": (
        ThumbsFeedback(**COMMON, is_positive=True, reason="Nice."),
        {"gen_ai.evaluation.score.value": 1.0, "gen_ai.evaluation.score.label": "up"},
    ),
    "thumbs, down": (
        ThumbsFeedback(**COMMON, is_positive=False),
        {
            "gen_ai.evaluation.name": "thumbs",
            "gen_ai.evaluation.score.value": 0.0,
            "gen_ai.evaluation.score.label": "down",
        },
    ),
    "text.praise": (TextFeedback(**COMMON, text="Lovely.", category="praise"), {}),
    "correction.style": (
        CorrectionFeedback(**COMMON, original_hash="a", corrected_hash="b", correction_type="style"),
        {},
    ),
    "regenerate": (
        RegenerateFeedback(**COMMON, regeneration_count=2, reason="Again."),
        {"gen_ai.evaluation.score.label": "2"},
    ),
    "stop": (StopFeedback(**COMMON, tokens_generated=3, reason="Enough."), {}),
}


@pytest.mark.parametrize("name", TYPES)
async def test_report_feedback_records_each_of_the_runtimes_types(
    name: str, instrumented: Recorder, sink: InMemoryFeedbackSink
) -> None:
    event, attributes = TYPES[name]
    await report_feedback(event)
    expected = {"gen_ai.evaluation.name": name, **attributes, "ai_lib.request.id": "unknown"}
    assert evaluation(instrumented) == (NOWHERE, expected)
    kind = name.partition(".")[0].partition(",")[0]
    assert instrumented.points("ai_lib.feedback") == [({"type": kind}, 1)]
    score = attributes.get("gen_ai.evaluation.score.value")
    assert instrumented.sums("ai_lib.feedback.score") == ([] if score is None else [({"type": kind}, score)])
    assert sink.get_events() == [event]


async def test_report_feedback_finds_the_trace_by_the_id(instrumented: Recorder) -> None:
    stats = await rated_call()
    await telemetry.report_feedback(ThumbsFeedback(stats.client_request_id, is_positive=True))
    assert evaluation(instrumented)[0] == place(instrumented)


async def test_a_sink_that_raises_raises_and_the_feedback_is_recorded(instrumented: Recorder) -> None:
    class Broken(NoopFeedbackSink):
        async def report(self, event: Any) -> None:
            raise OSError("no database")

    set_feedback_sink(Broken())
    with pytest.raises(OSError, match="no database"):
        await report_feedback(TextFeedback("unknown", "x"))
    assert instrumented.points("ai_lib.feedback") == [({"type": "text"}, 1)]


@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
async def test_a_type_of_the_applications_own_goes_to_the_sink_alone(
    instrumented: Recorder, sink: InMemoryFeedbackSink, caplog: pytest.LogCaptureFixture
) -> None:
    class Applause:
        request_id = "unknown"

    for _ in range(2):
        await report_feedback(Applause())  # type: ignore[arg-type]
    assert len(sink) == 2
    assert instrumented.events() == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"Feedback is not recorded: {Applause.__qualname__} is none of the runtime's types of feedback (reported once)"
    ]


async def test_a_type_that_extends_one_of_the_runtimes_is_of_that_type(instrumented: Recorder) -> None:
    class Stars(RatingFeedback):
        """A rating by another name."""

    await report_feedback(Stars("unknown", 4))
    assert evaluation(instrumented)[1] == {**RATED, "ai_lib.request.id": "unknown"}


async def test_the_collector_takes_the_runtimes_types_with_a_traceparent(
    instrumented: Recorder, sink: InMemoryFeedbackSink
) -> None:
    stats = await rated_call()
    found = FeedbackCollector().report(ThumbsFeedback("unknown", is_positive=True), traceparent=stats.traceparent)
    assert (found, evaluation(instrumented)[0]) == (FeedbackResult.RECORDED, place(instrumented))
    assert len(sink) == 0


def test_the_sink_that_the_application_asks_for_is_its_own(instrumented: Recorder, sink: InMemoryFeedbackSink) -> None:
    from ai_lib_python.telemetry import feedback

    assert feedback.get_feedback_sink() is sink
    assert telemetry.get_feedback_sink() is sink


# --- ratings ---


@pytest.mark.parametrize(
    ("rating", "options", "score", "label"),
    [
        (1, {}, 0.0, "1/5"),
        (5, {}, 1.0, "5/5"),
        (4.5, {}, 0.875, "4.5/5"),
        (0, {"min_rating": 0, "max_rating": 10}, 0.0, "0/10"),
        (7, {"max_rating": 7}, 1.0, "7/7"),
        (1, {"max_rating": 1}, 1.0, "1/1"),
    ],
)
def test_scores_are_from_nought_to_one(
    rating: float, options: dict[str, Any], score: float, label: str, instrumented: Recorder
) -> None:
    assert FeedbackCollector().record(request_id="unknown", rating=rating, **options) is FeedbackResult.UNLINKED
    _, attributes = evaluation(instrumented)
    assert attributes["gen_ai.evaluation.score.value"] == score
    assert attributes["gen_ai.evaluation.score.label"] == label


@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@pytest.mark.parametrize("rating", [0, 6, -1, math.nan, math.inf, True, "5", None, [5]])
def test_a_rating_out_of_range_is_rejected_and_said_once(
    rating: Any, instrumented: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    collector = FeedbackCollector()
    found = [collector.record(request_id="unknown", rating=rating) for _ in range(2)]
    assert found == [FeedbackResult.REJECTED, FeedbackResult.REJECTED]
    assert instrumented.events() == []
    assert instrumented.points("ai_lib.feedback") == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "Feedback is not recorded: a rating must be a number from 1 to 5 (reported once)"
    ]


# --- comments ---


def test_without_content_capture_no_comment_leaves_the_process(instrumented: Recorder) -> None:
    FeedbackCollector().record(request_id="unknown", rating=4, comment="My name is")
    assert evaluation(instrumented)[1] == {**RATED, "ai_lib.request.id": "unknown"}


@pytest.mark.parametrize(
    ("comment", "explanation"),
    [
        ("Helpful", "Helpful"),
        ("use api_key=abc123", "use api_key=***REDACTED***"),
        ("sk-" + "a" * 30, "sk-***REDACTED***"),
        ("x" * 5000, "x" * 1024),
        ("lone \ud800", "lone ?"),
    ],
)
def test_with_content_capture_a_comment_leaves_it_masked_and_of_bounded_length(
    comment: str, explanation: str, with_content: Recorder
) -> None:
    FeedbackCollector().record(request_id="unknown", rating=4, comment=comment)
    assert evaluation(with_content)[1]["gen_ai.evaluation.explanation"] == explanation


@pytest.mark.parametrize("comment", ["", None, 7])
def test_no_comment_is_none(comment: Any, with_content: Recorder) -> None:
    FeedbackCollector().record(request_id="unknown", rating=4, comment=comment)
    assert "gen_ai.evaluation.explanation" not in evaluation(with_content)[1]


def test_a_comment_alone_is_feedback_in_words(with_content: Recorder) -> None:
    FeedbackCollector().record(request_id="unknown", comment="Helpful")
    assert evaluation(with_content)[1] == {
        "gen_ai.evaluation.name": "text",
        "gen_ai.evaluation.explanation": "Helpful",
        "ai_lib.request.id": "unknown",
    }


def test_on_spans_alone_content_does_not_get_on_events(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTENT, "SPAN_ONLY")
    AiLibInstrumentor().instrument(**recorder.providers)
    FeedbackCollector().record(request_id="unknown", rating=4, comment="Helpful")
    AiLibInstrumentor().uninstrument()
    assert "gen_ai.evaluation.explanation" not in evaluation(recorder)[1]


# --- not instrumented ---


async def test_where_nothing_is_instrumented_nothing_is_recorded(recorder: Recorder) -> None:
    AiLibInstrumentor().instrument(**recorder.providers)
    from ai_lib_python.telemetry import FeedbackCollector as Added  # type: ignore[attr-defined]

    collector = Added()
    AiLibInstrumentor().uninstrument()
    assert Added is FeedbackCollector
    assert collector.record(request_id="unknown", rating=4) is FeedbackResult.INACTIVE
    assert recorder.events() == []
    with pytest.raises(ImportError):
        from ai_lib_python.telemetry import FeedbackCollector as Gone  # type: ignore[attr-defined] # noqa: F401
