"""Credentials in other places than a manifest's ``auth``, of other models, and of requests that belong to no call."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import pytest
from ai_lib_python.protocol import ProtocolLoader
from ai_lib_python.transport import HttpTransport
from ai_lib_python.types.message import ContentBlock, Message, MessageRole
from ai_lib_python.types.tool import ToolDefinition
from test_secrets import FINE

from leaks import Exported, holds
from opentelemetry_instrumentation_ailib import AiLibInstrumentor, guard
from planted import CALLS, Kind, callers, everything_on, exporting, outcome, plant
from provider import Provider, body, completion, delta, events, provider
from recorder import Recorder
from resilient import chatting, fast

SECRET = "pl/Zq7+mK2vW9=xR4tY&8uJ3nB~6hG5_fD1.sA0c"
OTHER = "ot/Wn5+cE8zT1=gH7yU&3iO9pL~2kJ4_mV6.bX0q"
QUERY, HEADER = Kind({"type": "query_param", "param_name": "key"}), Kind({"type": "bearer"})
KINDS = pytest.mark.parametrize("kind", [HEADER, QUERY], ids=["header", "query"])


exported = pytest.fixture(exporting)


def sent(server: Provider, secret: str) -> list[bool]:
    """Return of each request whether it had the secret."""
    return [holds(request, secret) for request in server.requests]


class Quoting(Exception):  # noqa: N818 - what a hook of an application's may raise
    """Raised by a hook, about what it was called with."""


class Hook:
    """A hook of any kind that raises, and quotes the credential."""

    def __call__(self, *_: object, **__: object) -> None:
        raise Quoting(f"Not to be kept: {SECRET}, {quote(SECRET, safe='')}")

    on_completion = __call__


@pytest.mark.swallowed
@pytest.mark.noisy("opentelemetry_instrumentation_ailib")
@KINDS
@pytest.mark.parametrize("hook", ["request_hook", "response_hook", "completion_hook"])
async def test_what_a_hook_raises_gives_no_credential_away(
    recorder: Recorder, hook: str, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each hook at its first fault, whatever other tests had."""
    report, sites = guard.report_fault, []

    def report_each(site: str, secrets: Iterable[str], *, first: bool) -> None:
        sites.append(site)
        report(site, secrets, first=True)

    monkeypatch.setattr(guard, "report_fault", report_each)
    key = plant(kind, SECRET, tmp_path, monkeypatch)
    with everything_on(recorder, monkeypatch, **{hook: Hook()}) as exported:
        for name in CALLS:
            async with provider(FINE[name]) as server, callers(server.base_url, key, SECRET) as calls:
                await outcome(calls[name])
            assert any(sent(server, SECRET))
    # Messages are of chats alone.
    assert len(sites) == (2 if hook == "completion_hook" else len(CALLS))
    assert "Not to be kept: ***REDACTED***, ***REDACTED***" in "".join(exported.lines)
    assert exported.leaks(SECRET) == []


@KINDS
@pytest.mark.parametrize("status", [401, 429, 500])
async def test_credentials_of_fallbacks_and_of_the_first_model_are_exported_nowhere(
    exported: Exported, kind: Kind, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every provider quotes both credentials, as a gateway before them could."""
    plant(kind, SECRET, tmp_path, monkeypatch)
    plant(HEADER, OTHER, tmp_path, monkeypatch, "other")
    refusal = body({"error": {"message": f"Neither {SECRET} nor {quote(OTHER, safe='')} is known."}}, status)
    models = "planted/m", ["other/m"]
    async with provider(refusal) as server, chatting(server.base_url, *models, retry=fast(1)) as ai:
        result = await outcome(ai.chat().user("Hello?").execute)

    assert isinstance(result, Exception)
    assert (any(sent(server, SECRET)), any(sent(server, OTHER))) == (True, True)
    assert exported.leaks(SECRET, OTHER) == []


async def test_a_fallback_that_answers_quotes_no_credential(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(HEADER, SECRET, tmp_path, monkeypatch)
    plant(HEADER, OTHER, tmp_path, monkeypatch, "other")
    scripts = body({}, 500), body(completion(f"Not {SECRET}, not {OTHER}"))
    async with provider(*scripts) as server, chatting(server.base_url, "planted/m", ["other/m"]) as ai:
        await ai.chat().user("Hello?").execute()

    assert [sent(server, SECRET), sent(server, OTHER)] == [[True, False], [False, True]]
    assert exported.leaks(SECRET, OTHER) == []


@KINDS
async def test_a_provider_that_names_things_by_the_credential_exports_none(
    exported: Exported, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in every text of the answer that is recorded: ids, model, finish reason."""
    plant(kind, SECRET, tmp_path, monkeypatch)
    named = {"id": SECRET, "model": SECRET}
    choice = {"index": 0, "message": {"content": "Hello"}, "finish_reason": SECRET}
    headers = {"x-request-id": quote(SECRET)}
    last = delta(finish=SECRET, usage={"prompt_tokens": 1}) | named
    async with provider([]) as server, callers(server.base_url, None, SECRET) as calls:
        for script in (
            body({**named, "choices": [choice], "data": [], "results": [], "text": ""}, 200, headers),
            body({"error": {"message": "No.", "type": SECRET, "code": SECRET}, "request_id": SECRET}, 400, headers),
            events(delta("Hello") | named, last),
        ):
            server.scripts = [script]
            await asyncio.gather(*(outcome(call) for call in calls.values()))

    assert exported.leaks(SECRET) == []


@KINDS
async def test_messages_that_quote_the_credential_are_exported_without_it(
    exported: Exported, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(kind, SECRET, tmp_path, monkeypatch)
    tool = ToolDefinition.from_function("f", f"Sends {SECRET}", {"properties": {SECRET: {"enum": [SECRET]}}})
    blocks = [
        ContentBlock.text_block(SECRET),
        ContentBlock.image_url(f"https://x.example/?key={quote(SECRET, safe='')}"),
        ContentBlock.image_base64(b64encode(SECRET.encode()).decode(), "image/png"),
        ContentBlock.tool_use("1", "f", {"key": SECRET, SECRET: [SECRET]}),
        ContentBlock.tool_result("1", {"key": SECRET}),
    ]
    messages = [Message.system(f"Never say {SECRET}"), Message(role=MessageRole.USER, content=blocks)]
    async with provider(body(completion())) as server, chatting(server.base_url, "planted/m") as ai:
        await ai.chat().messages([*messages, Message.tool("1", SECRET)]).tools([tool]).execute()

    assert len(server.requests) == 1
    assert exported.leaks(SECRET) == []


@KINDS
async def test_a_request_outside_of_any_call_exports_no_credential(
    exported: Exported, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(kind, SECRET, tmp_path, monkeypatch)
    manifest = await ProtocolLoader().load_provider("planted")
    async with (
        provider(body({"data": []})) as server,
        HttpTransport(manifest, base_url_override=server.base_url) as transport,
    ):
        await transport.get("/models")
        async with transport.stream_post("/chat", {}) as response:
            await response.aread()

    assert sent(server, SECRET) == [True, True]
    assert exported.leaks(SECRET) == []


@pytest.mark.parametrize("stages", ["none", "request.compile"])
async def test_without_the_spans_of_stages_no_credential_is_exported(
    exported: Exported, stages: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    AiLibInstrumentor().uninstrument()
    AiLibInstrumentor().instrument(**exported.recorder.providers, stages=stages)
    plant(QUERY, SECRET, tmp_path, monkeypatch)
    async with provider(body({"error": SECRET}, 401)) as server, callers(server.base_url, None, SECRET) as calls:
        for call in calls.values():
            await outcome(call)

    assert sent(server, SECRET) == [True] * len(CALLS)
    assert exported.leaks(SECRET) == []
