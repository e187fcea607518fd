"""``report_feedback()``: the runtime's own way to report feedback, which records it besides."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from opentelemetry_instrumentation_ailib.documented.feedback import FeedbackCollector
from opentelemetry_instrumentation_ailib.patching import Addition, Row, Wrapper

_PACKAGE: Final = "ai_lib_python.telemetry"


class _Reporting:
    """The sink of one ``report_feedback()``, which sees nothing else of it."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink

    async def report(self, event: Any) -> None:
        FeedbackCollector().report(event)
        await self._sink.report(event)


def _asked_by_report_feedback() -> bool:
    frame: FrameType | None = sys._getframe(2)
    for _ in range(3):  # wrapt may be in between.
        if frame is None or frame.f_code is _Reporting.report.__code__:
            break  # A sink that asks, while it is told, for the one that the application set.
        if frame.f_code.co_name == "report_feedback" and frame.f_globals.get("__name__") == f"{_PACKAGE}.feedback":
            return True
        frame = frame.f_back
    return False


def _sink(bundle: Any) -> Wrapper:
    # report_feedback() itself is in the hands of those who imported it before; they keep it. The sink it asks for by
    # its name each time.
    def run(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        sink = wrapped(*args, **kwargs)
        return _Reporting(sink) if _asked_by_report_feedback() else sink

    return run


ROWS = (
    # When the package is there, so that the name which it takes from the submodule is the original.
    Row(_PACKAGE, "feedback.get_feedback_sink", _sink),
    Addition(_PACKAGE, "FeedbackCollector", lambda _: FeedbackCollector),
)
