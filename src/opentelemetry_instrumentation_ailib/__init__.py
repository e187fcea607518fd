"""OpenTelemetry for applications that talk to AI providers through ``ai-lib-python``.

Usage::

    from opentelemetry_instrumentation_ailib import AiLibInstrumentor

    AiLibInstrumentor().instrument()

or, with no code at all, ``opentelemetry-instrument python app.py``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.util.genai.completion_hook import load_completion_hook

from opentelemetry_instrumentation_ailib import stages
from opentelemetry_instrumentation_ailib.config import Config
from opentelemetry_instrumentation_ailib.operations import chat
from opentelemetry_instrumentation_ailib.package import _instruments
from opentelemetry_instrumentation_ailib.patching import Patcher
from opentelemetry_instrumentation_ailib.stream_end import StreamSummary
from opentelemetry_instrumentation_ailib.telemetry import Telemetry
from opentelemetry_instrumentation_ailib.version import __version__

__all__ = ["AiLibInstrumentor", "StreamSummary", "__version__"]

ROWS = (*chat.ROWS, *stages.ROWS)
"""Everything that gets patched."""


class AiLibInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Traces and metrics for every call made with ``ai-lib-python``.

    ``instrument()`` takes, all of them optional:

    Args:
        tracer_provider: Where spans go; the global provider by default.
        meter_provider: Where measurements go; the global provider by default.
        logger_provider: Where the events of the GenAI conventions go; the global provider by default.
        request_hook: ``(span, request)``, called with the runtime's request builder when an operation's span has
            started, if it is recorded.
        response_hook: ``(span, response)``, called before the span ends with the runtime's ``ChatResponse``, or with a
            :class:`StreamSummary`. An exception from a hook is logged once and changes nothing.
        completion_hook: A ``CompletionHook`` of ``opentelemetry-util-genai``; by default the one that
            ``OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK`` names.
        stages: ``"all"``, ``"none"`` or some of the stages: which of them get spans. Default:
            ``OTEL_INSTRUMENTATION_AILIB_STAGES``, or all.
        chunk_timing: Whether each chunk of a stream is recorded. Default: ``OTEL_INSTRUMENTATION_AILIB_CHUNK_TIMING``,
            or true.

    It may be called before or after the runtime is imported, and imports none of it. ``uninstrument()`` puts back the
    original objects; calls and streams under way end their spans.
    """

    _patcher = Patcher()

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the supported range of ``ai-lib-python``."""
        return _instruments

    def _instrument(self, **kwargs: Any) -> None:
        telemetry = Telemetry.build(
            Config.read(stages=kwargs.get("stages"), chunk_timing=kwargs.get("chunk_timing")),
            tracer_provider=kwargs.get("tracer_provider"),
            meter_provider=kwargs.get("meter_provider"),
            logger_provider=kwargs.get("logger_provider"),
            completion_hook=kwargs.get("completion_hook") or load_completion_hook(),
            request_hook=kwargs.get("request_hook"),
            response_hook=kwargs.get("response_hook"),
        )
        self._patcher.apply(ROWS, telemetry)

    def _uninstrument(self, **kwargs: Any) -> None:
        self._patcher.undo()
