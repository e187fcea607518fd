"""What feedback says: the runtime's seven types, ratings and comments, each as one evaluation."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any

import pytest
from ai_lib_python import telemetry
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
from rated import NOWHERE, RATED, evaluation, place, rated_call

from opentelemetry_instrumentation_ailib import AiLibInstrumentor, FeedbackCollector, FeedbackResult
from recorder import Recorder

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


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
async def test_what_cannot_be_asked_for_its_id_is_rejected(instrumented: Recorder, sink: InMemoryFeedbackSink) -> None:
    class Distant:
        @property
        def request_id(self) -> str:
            raise OSError("no database")

    assert FeedbackCollector().report(Distant()) is FeedbackResult.REJECTED
    await report_feedback(Distant())  # type: ignore[arg-type]
    assert (len(sink), instrumented.events()) == (1, [])


def test_the_sink_that_the_application_asks_for_is_its_own(instrumented: Recorder, sink: InMemoryFeedbackSink) -> None:
    from ai_lib_python.telemetry import feedback

    assert feedback.get_feedback_sink() is sink
    assert telemetry.get_feedback_sink() is sink


async def test_the_sink_that_a_sink_asks_for_is_the_applications(instrumented: Recorder) -> None:
    class Asking(NoopFeedbackSink):
        async def report(self, event: Any) -> None:
            found.append(telemetry.feedback.get_feedback_sink())

    found: list[Any] = []
    set_feedback_sink(sink := Asking())
    await report_feedback(ThumbsFeedback("unknown", is_positive=True))
    assert found == [sink]
    assert instrumented.points("ai_lib.feedback") == [({"type": "thumbs"}, 1)]


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
@pytest.mark.parametrize(
    "rating", [0, 6, -1, math.nan, math.inf, pytest.param(10**400, id="great"), True, "5", None, [5]]
)
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


@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@pytest.mark.parametrize("best", [1.7e308, 10**400], ids=["as a float", "as none"])
def test_a_scale_of_which_no_part_can_be_told_is_rejected(best: float, instrumented: Recorder) -> None:
    found = FeedbackCollector().record(request_id="unknown", rating=best, min_rating=-best, max_rating=best)
    assert (found, instrumented.events()) == (FeedbackResult.REJECTED, [])


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
