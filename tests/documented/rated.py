"""What the tests of feedback share: a call to rate, and the event that tells of the rating."""

from __future__ import annotations

from typing import Any

from ai_lib_python import AiClient
from opentelemetry.trace import format_span_id, format_trace_id

from provider import body, completion, provider
from recorder import Recorder


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
