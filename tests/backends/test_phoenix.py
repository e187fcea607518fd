"""Phoenix stores the traces, and gives them back as they were sent, with its own view of the calls to models."""

from __future__ import annotations

from typing import Any

import pytest
from phoenix_server import stored
from sender import Sender

from provider import body, completion, delta, events, provider

pytest_plugins = ["shared_servers"]

CALL = "chat gpt-4o"
STAGES = ["http.transport", "pipeline.process", "request.compile"]
USAGE = {"usage": {"prompt_tokens": 12, "completion_tokens": 5}}


@pytest.fixture(params=["grpc", "http"])
async def sent_and_kept(request: pytest.FixtureRequest, phoenix: dict[str, str]) -> Any:
    """What a user's chat and stream were, and what Phoenix has of them, by span id."""
    sender = Sender(request.param, phoenix[request.param], traces_only=True)
    scripts = body(completion()), events(delta("Hel"), delta("lo", finish="stop", **USAGE))
    async with provider(*scripts) as model:
        with sender.instrumented():
            async with sender.service(model.base_url) as user:
                assert (await user.get("/chat")).json() == "Hello"
                assert (await user.get("/stream")).text == "Hello"
    sender.shutdown()
    sent = {f"{span.context.span_id:016x}": span for span in sender.spans()}
    return sent, stored(phoenix["http"], sender.spans())


def plain(attributes: Any) -> dict[str, Any]:
    """Return attributes as JSON has them."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in (attributes or {}).items()}


async def test_every_span_is_stored_as_it_was_sent(sent_and_kept: Any) -> None:
    sent, found = sent_and_kept
    for identifier, span in sent.items():
        kept = found[identifier]
        assert kept["name"] == span.name
        assert kept["context"]["trace_id"] == f"{span.context.trace_id:032x}"
        assert kept["parent_id"] == (f"{span.parent.span_id:016x}" if span.parent else None)
        assert kept["status_code"] == span.status.status_code.name
        attributes = plain(span.attributes)
        assert {key: kept["attributes"].get(key) for key in attributes} == attributes


async def test_a_users_trace_goes_through_three_instrumentations(sent_and_kept: Any) -> None:
    _, found = sent_and_kept

    def tree(root: str) -> list[tuple[str, str | None]]:
        (trace_id,) = {span["context"]["trace_id"] for span in found.values() if span["name"] == root}
        spans = [span for span in found.values() if span["context"]["trace_id"] == trace_id]
        names = {span["context"]["span_id"]: span["name"] for span in spans}
        return sorted(((span["name"], names.get(span["parent_id"])) for span in spans), key=str)

    for root, stages in (("GET /chat", STAGES), ("GET /stream", [*STAGES, "event.map"])):
        below = [(f"ai_lib.{stage}", CALL) for stage in stages]
        expected = [(root, None), (CALL, root), ("POST", "ai_lib.http.transport"), *below]
        assert tree(root) == sorted(expected, key=str)


async def test_phoenix_knows_a_call_to_a_model_and_its_tokens(sent_and_kept: Any) -> None:
    _, found = sent_and_kept
    calls = [span for span in found.values() if span["name"] == CALL]
    assert [span["span_kind"] for span in calls] == ["LLM", "LLM"]
    for span in calls:
        attributes = span["attributes"]
        assert (attributes["llm.provider"], attributes["llm.model_name"]) == ("openai", "gpt-4o")
        assert (attributes["llm.token_count.prompt"], attributes["llm.token_count.completion"]) == (12, 5)
