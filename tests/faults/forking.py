"""A program that instruments the runtime, calls it, and forks: what parent and children record, printed as JSON."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from unmoved import Gate, asked, connected

from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from recorder import Recorder

EXPORTED: list[tuple[int, str, int]] = []


class Noting(SpanExporter):
    """Notes the process that exports, and the name and the id of every span."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Note them."""
        EXPORTED.extend((os.getpid(), span.name, span.context.span_id) for span in spans)
        return SpanExportResult.SUCCESS


RECORDER = Recorder()
RECORDER.tracer_provider.add_span_processor(BatchSpanProcessor(Noting()))


def requests() -> int:
    """Return how many requests have been counted, before a fork included."""
    return sum(value for _, value in RECORDER.points("ai_lib.requests"))


async def chat() -> list[Any]:
    """Make a call and read a stream."""
    ai = await connected()
    seen = [await asked(ai, way) for way in ("execute", "stream")]
    await ai.close()
    return seen


def report(before: int) -> dict[str, Any]:
    """Chat, and return what this process got, exported and counted."""
    seen = asyncio.run(chat())
    RECORDER.tracer_provider.force_flush()
    mine = [(name, identifier) for process, name, identifier in EXPORTED if process == os.getpid()]
    return {"seen": seen, "spans": sorted(name for name, _ in mine), "ids": mine, "counted": requests() - before}


def send(pipe: Any, before: int) -> None:
    """Report to the parent."""
    pipe.send(report(before))


def started(method: str) -> dict[str, Any]:
    """Report from a process of ``multiprocessing``."""
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=send, args=(theirs, requests() if method == "fork" else 0))
    process.start()
    found: dict[str, Any] = ours.recv()
    process.join()
    return {**found, "status": process.exitcode}


def forked(leave: Callable[[int], Any], *, elsewhere: bool = False) -> dict[str, Any]:
    """Report from a process that was forked, as a server forks its workers.

    Args:
        leave: Ends it.
        elsewhere: Whether it works in another thread, since an event loop runs in this one.
    """
    reading, writing = os.pipe()
    before, child = requests(), os.fork()
    if not child:
        found: list[dict[str, Any]] = []
        if elsewhere:
            worker = threading.Thread(target=lambda: found.append(report(before)))
            worker.start()
            worker.join()
        else:
            found.append(report(before))
        os.write(writing, json.dumps(found[0]).encode())
        os.close(writing)
        leave(0)
    os.close(writing)
    with open(reading) as pipe:  # noqa: PTH123 - a number
        text = pipe.read()
    return {**json.loads(text), "status": os.waitpid(child, 0)[1]}


async def fork_halfway() -> dict[str, Any]:
    """Fork while a call and a stream are under way, which the parent then brings to their ends."""
    gates = Gate(), Gate()
    clients = [await connected(gate) for gate in gates]
    asking = [asyncio.ensure_future(asked(ai, way)) for ai, way in zip(clients, ("execute", "stream"), strict=True)]
    for gate in gates:
        await gate.asked.wait()
    child = forked(os._exit, elsewhere=True)
    for gate in gates:
        gate.opened.set()
    seen = [await each for each in asking]
    for ai in clients:
        await ai.close()
    return {"child": child, "seen": seen}


def main() -> None:
    """Run it."""
    found: dict[str, Any] = {"without": asyncio.run(chat())}
    AiLibInstrumentor().instrument(**RECORDER.providers)
    found["parent"] = report(0)
    found["worker"] = forked(sys.exit)
    halfway = asyncio.run(fork_halfway())
    found["halfway"], found["seen halfway"] = halfway["child"], halfway["seen"]
    found["fork"], found["spawn"] = started("fork"), started("spawn")
    RECORDER.tracer_provider.force_flush()
    found["ids"] = [(name, identifier) for _, name, identifier in EXPORTED]
    found["counted"] = requests()
    found["in flight"] = [value for _, value in RECORDER.points("ai_lib.requests.in_flight")]
    print(json.dumps(found))  # noqa: T201 - a program


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    AiLibInstrumentor().instrument(**RECORDER.providers)  # Spawned: nothing of the parent's is here.
