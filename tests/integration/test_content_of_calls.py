"""What is captured of calls, from the provider's bytes to the attributes of the span."""

from __future__ import annotations

import json

import httpx
import pytest

from differential import instrumentation
from in_process import FRAMES, connected
from opentelemetry_instrumentation_ailib import loggers
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


class Hook:
    """Takes the messages."""

    def on_completion(self, **_: object) -> None:
        """Keep them to itself."""


@pytest.mark.parametrize(("mode", "shown"), [("NO_CONTENT", 0), ("EVENT_ONLY", len(FRAMES))])
async def test_frames_are_logged_with_their_content_where_the_mode_says_so_and_not_for_a_hook(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mode: str, shown: int
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", mode)
    caplog.set_level(loggers.TRACE, logger="ai_lib.frame")
    with instrumentation(recorder, completion_hook=Hook()):
        ai = await connected(lambda _: httpx.Response(200, content=b"".join(FRAMES)))
        async for _ in ai.chat().user("Hello?").stream():
            pass
    records = [record for record in caplog.records if record.name == "ai_lib.frame"]
    assert len(records) == len(FRAMES)
    assert sum("ai_lib.frame.content" in vars(record) for record in records) == shown
    assert sum("choices" in record.getMessage().split("->")[1] for record in records) == shown


@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
async def test_inputs_are_told_as_they_were_sent(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    arguments = {"city": "Paris"}
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    messages: list[dict[str, object]] = [{"role": "assistant", "tool_calls": [call]}]

    def answer(request: httpx.Request) -> httpx.Response:
        arguments["city"] = "London"
        messages.append({"role": "user", "content": "Later."})
        assert json.loads(request.content)["messages"][0]["tool_calls"][0]["function"]["arguments"]["city"] == "Paris"
        return httpx.Response(200, content=b"".join(FRAMES)) if stream else httpx.Response(200, json=completion())

    with instrumentation(recorder):
        ai = await connected(answer)
        request = ai.chat().user("x").param("messages", messages)
        if stream:
            async for _ in request.stream():
                pass
        else:
            await request.execute()
    told = json.loads(str((recorder.span("chat gpt-4o").attributes or {})["gen_ai.input.messages"]))
    assert [[part["arguments"] for part in message["parts"]] for message in told] == [[{"city": "Paris"}]]
