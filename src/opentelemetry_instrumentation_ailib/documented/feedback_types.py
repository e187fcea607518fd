"""What the runtime's seven types of feedback say, as the fields of an evaluation. There is no telemetry in here.

The types are known by name, so that nothing of the runtime is imported to recognise them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry_instrumentation_ailib.values import number


@dataclass(frozen=True)
class Evaluation:
    """One piece of feedback.

    Attributes:
        type: The type, as the runtime's ``FeedbackType`` names it.
        category: What was rated, if that was said.
        score: From 0, the worst, to 1; ``None`` for feedback that is no score.
        label: The same for people to read: ``4/5``, ``up``.
        comment: What the user wrote.
    """

    type: str
    category: str | None = None
    score: float | None = None
    label: str | None = None
    comment: str | None = None


def rating(value: Any, lowest: Any, highest: Any, category: str | None, comment: str | None) -> Evaluation:
    """Return the evaluation that a rating is.

    Args:
        value: The rating.
        lowest: The worst possible.
        highest: The best possible.
        category: What was rated.
        comment: What the user wrote.

    Raises:
        ValueError: The rating is no number from ``lowest`` to ``highest``.
    """
    if None in map(number, (value, lowest, highest)) or not lowest <= value <= highest:
        raise ValueError(f"a rating must be a number from {lowest!r} to {highest!r}")
    score = (value - lowest) / (highest - lowest) if highest > lowest else 1.0
    return Evaluation("rating", category, score, f"{value:g}/{highest:g}", comment)


def _rating(event: Any) -> Evaluation:
    return rating(event.rating, 1, event.max_rating, event.category, event.comment)


def _thumbs(event: Any) -> Evaluation:
    positive = bool(event.is_positive)
    return Evaluation("thumbs", None, float(positive), "up" if positive else "down", event.reason)


def _choice(event: Any) -> Evaluation:
    return Evaluation("choice_selection", label=str(event.chosen_index))


def _text(event: Any) -> Evaluation:
    return Evaluation("text", event.category, comment=event.text)


def _correction(event: Any) -> Evaluation:
    return Evaluation("correction", event.correction_type)


def _regenerate(event: Any) -> Evaluation:
    return Evaluation("regenerate", label=str(event.regeneration_count), comment=event.reason)


def _stop(event: Any) -> Evaluation:
    return Evaluation("stop", comment=event.reason)


_TYPES: Final[dict[str, Callable[[Any], Evaluation]]] = {
    "ChoiceSelectionFeedback": _choice,
    "RatingFeedback": _rating,
    "ThumbsFeedback": _thumbs,
    "TextFeedback": _text,
    "CorrectionFeedback": _correction,
    "RegenerateFeedback": _regenerate,
    "StopFeedback": _stop,
}


def evaluation(event: Any) -> Evaluation:
    """Return the evaluation that one of the runtime's feedback events is; one that extends a type is of that type.

    Raises:
        ValueError: It is none of the seven types, or its rating is out of range.
    """
    for base in type(event).__mro__:
        if base.__name__ in _TYPES:
            return _TYPES[base.__name__](event)
    raise ValueError(f"{type(event).__qualname__} is none of the runtime's types of feedback")
