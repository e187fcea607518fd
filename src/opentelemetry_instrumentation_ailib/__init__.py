"""OpenTelemetry for applications that talk to AI providers through ``ai-lib-python``.

Usage::

    from opentelemetry_instrumentation_ailib import AiLibInstrumentor

    AiLibInstrumentor().instrument()

or, with no code at all, ``opentelemetry-instrument python app.py``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import get_logger
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from opentelemetry_instrumentation_ailib import (
    collected,
    documented,
    loggers,
    resilience,
    runtime_logs,
    semconv,
    stages,
)
from opentelemetry_instrumentation_ailib.config import Config
from opentelemetry_instrumentation_ailib.content import Content, load_hook
from opentelemetry_instrumentation_ailib.documented.clients import observe
from opentelemetry_instrumentation_ailib.documented.feedback import FeedbackCollector, FeedbackResult
from opentelemetry_instrumentation_ailib.documented.signals import signals_snapshot
from opentelemetry_instrumentation_ailib.live import LiveComponents
from opentelemetry_instrumentation_ailib.operations import (
    batch,
    chat,
    embeddings,
    rerank,
    speech_to_text,
    text_to_speech,
)
from opentelemetry_instrumentation_ailib.package import _instruments
from opentelemetry_instrumentation_ailib.patching import Patcher
from opentelemetry_instrumentation_ailib.stream_end import StreamSummary
from opentelemetry_instrumentation_ailib.telemetry import SCOPE, Telemetry
from opentelemetry_instrumentation_ailib.version import __version__

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.documented.explicit import (
        HealthChecker,
        HealthReport,
        MetricsCollector,
        Tracer,
    )

__all__ = [
    "AiLibInstrumentor",
    "FeedbackCollector",
    "FeedbackResult",
    "HealthChecker",
    "HealthReport",
    "MetricsCollector",
    "StreamSummary",
    "Tracer",
    "__version__",
    "observe",
    "signals_snapshot",
]

ROWS = (
    *chat.ROWS,
    *embeddings.ROWS,
    *rerank.ROWS,
    *speech_to_text.ROWS,
    *text_to_speech.ROWS,
    *batch.ROWS,
    *stages.ROWS,
    *resilience.ROWS,
    *runtime_logs.ROWS,
)
"""Everything that gets patched, the documented API apart (``documented.ROWS``)."""


def __getattr__(name: str) -> Any:
    # These extend the runtime's classes, which nothing of ours is to import before the application does.
    if name in {"HealthChecker", "HealthReport", "MetricsCollector", "Tracer"}:
        from opentelemetry_instrumentation_ailib.documented import explicit

        return getattr(explicit, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class AiLibInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Traces and metrics for every call made with ``ai-lib-python``.

    ``instrument()`` takes, all of them optional:

    Args:
        tracer_provider: Where spans go; the global provider by default.
        meter_provider: Where measurements go; the global provider by default.
        logger_provider: Where the events of the GenAI conventions go; the global provider by default.
        request_hook: ``(span, request)``, called when an operation's span has started, if it is recorded, with the
            runtime's request builder, or with the arguments by name where a call has none.
        response_hook: ``(span, response)``, called before the span ends with what the call returns, or with a
            :class:`StreamSummary`. An exception from a hook is logged once and changes nothing.
        completion_hook: A ``CompletionHook`` of ``opentelemetry-util-genai``; by default the one that
            ``OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK`` names.
        stages: ``"all"``, ``"none"`` or some of the stages: which of them get spans. Default:
            ``OTEL_INSTRUMENTATION_AILIB_STAGES``, or all.
        chunk_timing: Whether each chunk of a stream is recorded. Default: ``OTEL_INSTRUMENTATION_AILIB_CHUNK_TIMING``,
            or true.
        documented_api: Whether the runtime's classes get what the AI-Lib observability page documents and they lack.
            Default: ``OTEL_INSTRUMENTATION_AILIB_DOCUMENTED_API``, or true.

    It may be called before or after the runtime is imported, and imports none of it. ``uninstrument()`` puts back the
    original objects; calls and streams under way end their spans.
    """

    _patcher = Patcher()
    _components = LiveComponents()

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the supported range of ``ai-lib-python``."""
        return _instruments

    def _instrument(self, **kwargs: Any) -> None:
        config = Config.read(
            stages=kwargs.get("stages"),
            chunk_timing=kwargs.get("chunk_timing"),
            documented_api=kwargs.get("documented_api"),
        )
        content = Content.read(
            completion_hook=load_hook(kwargs.get("completion_hook"), named=config.completion_hook),
            logger=get_logger(SCOPE, __version__, kwargs.get("logger_provider"), semconv.SCHEMA_URL),
            emit_event=config.emit_event,
        )
        loggers.begin()
        collected.begin()
        telemetry = Telemetry.build(
            config,
            self._components,
            content,
            tracer_provider=kwargs.get("tracer_provider"),
            meter_provider=kwargs.get("meter_provider"),
            request_hook=kwargs.get("request_hook"),
            response_hook=kwargs.get("response_hook"),
        )
        telemetry = documented.begin(
            telemetry, tracer_provider=kwargs.get("tracer_provider"), meter_provider=kwargs.get("meter_provider")
        )
        self._patcher.apply((*ROWS, *documented.ROWS) if config.documented_api else ROWS, telemetry)

    def _uninstrument(self, **kwargs: Any) -> None:
        self._patcher.undo()
        documented.end()
        self._components.silence()
        loggers.end()
        collected.end()
