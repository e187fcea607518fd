"""The conversation that a call belongs to: ``gen_ai.conversation.id``."""

from __future__ import annotations

from opentelemetry import baggage

from opentelemetry_instrumentation_ailib import naming, semconv

try:
    # Where an agent instrumented through opentelemetry-util-genai puts it; the key has no public name.
    from opentelemetry.util.genai._conversation_context import get_ambient_conversation_id
except ImportError:  # pragma: no cover - in no release so far

    def get_ambient_conversation_id() -> str | None:  # type: ignore[misc]
        """Return nothing: this release of the package keeps it elsewhere."""
        return None


def conversation_id() -> str | None:
    """Return the id of the conversation that the current context says it belongs to.

    It is what an agent that is instrumented through ``opentelemetry-util-genai`` put there, or else the baggage entry
    ``gen_ai.conversation.id``, with which an application of any kind can say it.
    """
    return naming.text(get_ambient_conversation_id()) or naming.text(baggage.get_baggage(semconv.CONVERSATION_ID))
