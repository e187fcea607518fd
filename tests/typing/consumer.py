"""What a type checker sees of the installed package. It is checked by ``tox run -e typing``, and never run."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Span
from typing_extensions import assert_type

from opentelemetry_instrumentation_ailib import AiLibInstrumentor, StreamSummary, __version__

assert_type(__version__, str)


def on_response(span: Span, response: Any) -> None:
    if isinstance(response, StreamSummary):
        assert_type(response.outcome, str)
        assert_type(response.finish_reasons, tuple[str, ...])
        assert_type(response.usage.input, int | None)
        assert_type((response.bytes, response.frames, response.events), tuple[int, int, int])
        response.frames = 0  # type: ignore[misc] # A summary is frozen.


AiLibInstrumentor().instrument(response_hook=on_response, stages="none", chunk_timing=False)
AiLibInstrumentor().uninstrument()
