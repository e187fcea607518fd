"""What calls cost, over a socket, with the price list that the extra ``cost`` installs."""

from __future__ import annotations

from typing import Any

import pytest
from ai_lib_python.types.message import ContentBlock, Message, MessageRole
from genai_prices import Usage, calc_price

from conftest import client
from provider import body, completion, delta, events, provider
from recorder import Recorder

pytestmark = pytest.mark.priced

USAGE = {"prompt_tokens": 1200, "completion_tokens": 500}
LABELS = {"provider": "openai", "model": "gpt-4o"}


def listed(model: str, **tokens: int) -> float:
    """Return what the list says that so many tokens cost."""
    return float(calc_price(Usage(**tokens), model_ref=model, provider_id="openai").total_price)


GPT_4O = listed("gpt-4o", input_tokens=1200, output_tokens=500)


async def test_a_call_has_its_cost_on_the_span_and_in_the_counter(instrumented: Recorder) -> None:
    async with provider(body(completion(usage=USAGE))) as server:
        ai = await client(base_url=server.base_url)
        await ai.chat().user("Hello?").execute()
        await ai.close()
    assert (instrumented.span("chat gpt-4o").attributes or {})["ai_lib.cost"] == pytest.approx(GPT_4O)
    assert instrumented.points("ai_lib.cost") == [(LABELS, pytest.approx(GPT_4O))]


async def test_a_stream_has_its_cost_once_it_is_over(instrumented: Recorder) -> None:
    async with provider(events(delta("Hi"), delta(finish="stop", usage=USAGE))) as server:
        ai = await client(base_url=server.base_url)
        async for _ in ai.chat().user("Hello?").stream():
            assert instrumented.points("ai_lib.cost") == []
        await ai.close()
    assert (instrumented.span("chat gpt-4o").attributes or {})["ai_lib.cost"] == pytest.approx(GPT_4O)
    assert instrumented.points("ai_lib.cost") == [(LABELS, pytest.approx(GPT_4O))]


@pytest.mark.parametrize(
    ("model", "answer"),
    [("openai/no-such-model", completion(usage=USAGE)), ("openai/gpt-4o", completion(usage=None))],
    ids=["a model without a price", "no usage"],
)
async def test_what_is_not_known_to_cost_anything_has_no_cost(
    model: str, answer: dict[str, Any], instrumented: Recorder
) -> None:
    async with provider(body(answer)) as server:
        ai = await client(model, base_url=server.base_url)
        await ai.chat().user("Hello?").execute()
        await ai.close()
    assert "ai_lib.cost" not in (instrumented.span(f"chat {model.partition('/')[2]}").attributes or {})
    assert instrumented.points("ai_lib.cost") == []


async def test_a_model_whose_rates_differ_by_modality_is_priced_for_text_alone(instrumented: Recorder) -> None:
    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 100}
    answer = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}], "usageMetadata": usage}
    parts = [ContentBlock.text_block("What is it?"), ContentBlock.image_url("https://pictures.example/y")]
    picture = Message.with_content(MessageRole.USER, parts)
    async with provider(body(answer)) as server:
        ai = await client("gemini/gemini-2.5-flash", base_url=server.base_url)
        await ai.chat().user("Hello?").execute()
        await ai.chat().messages([picture]).execute()
        await ai.close()
    costs = [(span.attributes or {}).get("ai_lib.cost") for span in instrumented.spans() if span.kind.name == "CLIENT"]
    price = calc_price(Usage(input_tokens=1000, output_tokens=100), model_ref="gemini-2.5-flash", provider_id="google")
    assert costs == [pytest.approx(float(price.total_price)), None]


@pytest.mark.parametrize("name", ["contents", "messages"])
async def test_what_a_parameter_may_say_in_the_providers_words_is_priced_as_no_text(
    name: str, instrumented: Recorder
) -> None:
    """Audio costs more. The runtime sends a parameter of that name instead of its messages."""
    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 100}
    answer = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}], "usageMetadata": usage}
    audio = [{"role": "user", "parts": [{"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}]}]
    async with provider(body(answer)) as server:
        ai = await client("gemini/gemini-2.5-flash", base_url=server.base_url)
        await ai.chat().param(name, audio).execute()
        await ai.chat().user("Hello?").param(name, audio).execute()
        await ai.close()
    assert b"audio/wav" in server.requests[0]
    calls = [span.attributes or {} for span in instrumented.spans() if span.kind.name == "CLIENT"]
    assert [(call["gen_ai.usage.input_tokens"], "ai_lib.cost" in call) for call in calls] == [(1000, False)] * 2
    assert instrumented.points("ai_lib.cost") == []


async def test_without_the_extra_nothing_has_a_cost(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from opentelemetry_instrumentation_ailib import AiLibInstrumentor

    monkeypatch.setitem(sys.modules, "genai_prices", None)
    AiLibInstrumentor().instrument(**recorder.providers)
    try:
        async with provider(body(completion(usage=USAGE))) as server:
            ai = await client(base_url=server.base_url)
            await ai.chat().user("Hello?").execute()
            await ai.close()
    finally:
        AiLibInstrumentor().uninstrument()
    assert recorder.points("ai_lib.requests") == [({**LABELS, "operation": "chat"}, 1)]
    assert recorder.points("ai_lib.cost") == []
