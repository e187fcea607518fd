"""A collector that dies and comes back: the application does not notice, and what it does later arrives."""

from __future__ import annotations

import contextlib
from pathlib import Path

import httpx
import pytest
from collector import Ports, rotel
from sender import Sender
from servers import free_port

from provider import body, completion, provider
from receiver import Receiver, receiver


async def ask(user: httpx.AsyncClient, sender: Sender) -> str:
    """Ask as a user, and return the trace of it."""
    before = len(sender.spans())
    answer = await user.get("/chat")
    assert (answer.status_code, answer.json()) == (200, "Hello")
    (trace_id,) = {f"{span.context.trace_id:032x}" for span in sender.spans()[before:]}
    return trace_id


def complete(received: Receiver, trace_id: str) -> bool:
    return len(received.tree(trace_id)) == 6


@pytest.mark.noisy("opentelemetry")  # The exporters say that they get no answer.
@pytest.mark.parametrize("wire", ["grpc", "http"])
async def test_a_collector_that_comes_back_gets_what_happens_then(tmp_path: Path, wire: str) -> None:
    ports = Ports(free_port(), free_port())
    with receiver() as received, contextlib.ExitStack() as up:
        up.enter_context(rotel(tmp_path / "first", ports, received.endpoint))
        sender = Sender(wire, ports.endpoint(wire))
        async with provider(body(completion())) as model:
            with sender.instrumented():
                async with sender.service(model.base_url) as user:
                    first = await ask(user, sender)
                    received.wait_for(lambda: complete(received, first))
                    up.close()
                    during = [await ask(user, sender) for _ in range(3)]
                    # It waits for a collector that is not there, as no call of the application does.
                    sender.tracer_provider.force_flush()
                    assert not any(complete(received, trace_id) for trace_id in during)
                    with rotel(tmp_path / "second", ports, received.endpoint):
                        later = await ask(user, sender)
                        received.wait_for(lambda: complete(received, later), timeout=60)
                        sender.shutdown()
    assert {span.trace_id for span in received.spans} >= {first, later}
