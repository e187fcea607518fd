"""What is captured of calls, from the provider's bytes to the attributes of the span."""

from __future__ import annotations

import json

import httpx
import pytest

from differential import instrumentation
from in_process import connected
from provider import completion
from recorder import Recorder

CHOICES = 5_000


async def test_choices_that_nobody_looked_at_count_as_left_out(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    answer = {**completion(), "choices": completion()["choices"] * CHOICES}
    with instrumentation(recorder):
        ai = await connected(lambda _: httpx.Response(200, json=answer))
        await ai.chat().user("Hello?").execute()
    (span,) = (span for span in recorder.spans() if span.name == "chat gpt-4o")
    *told, last = json.loads(str((span.attributes or {})["gen_ai.output.messages"]))
    assert [part["content"] for part in last["parts"]] == [f"[{CHOICES - len(told)} more left out]"]
