"""The same scenario without and with the instrumentation, and all that an application could tell the two apart by."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import httpx
from ai_lib_python.transport import HttpTransport
from opentelemetry.context import get_current
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan

from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from opentelemetry_instrumentation_ailib.documented.statistics import FIELDS
from provider import Provider, Step, provider
from recorder import Recorder

T = TypeVar("T")
MODEL, BASE_URL = "openai/gpt-4o", "http://provider.example/v1"

# What the documented API fills in where the runtime leaves it empty.
STATISTICS = "ai_lib_python.client.response.CallStats"
FILLED_IN = frozenset(map(repr, FIELDS))
EMPTY = (None, "None", "0")
# Times and random ids. Of these only the type is compared, so that "set" and "not set" still differ.
VOLATILE = frozenset(
    {
        "available_tokens",
        "client_request_id",
        "latency_ms",
        "time_to_first_token_ms",
        "time_until_retry",
        "last_failure_time",
        "last_success_time",
        "_start_time",
        "_first_token_time",
        "_last_failure_time",
        "_last_refill",
        "_opened_at",
        "_tokens",
    }
)
# What belongs to others: HTTP connections, locks. Whether there is one is compared, not what is inside.
_ADDRESS = re.compile(r"\b[0-9a-f]{12}\b")
OPAQUE = ("httpx", "httpcore", "asyncio", "pathlib", "ssl")


def described(value: Any, name: str = "", seen: tuple[int, ...] = ()) -> Any:
    """Turn anything into plain values that compare: types, contents, attributes, and the chain of an exception."""
    if name in VOLATILE:
        return type(value).__name__
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return _ADDRESS.sub("address", repr(value))
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if id(value) in seen:
        return f"{kind}, seen above"
    seen = (*seen, id(value))
    if isinstance(value, dict):
        return {repr(key): described(item, str(key), seen) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [kind, *(described(item, "", seen) for item in value)]
    if isinstance(value, BaseException):
        return {"kind": kind, **_fault(value, seen)}
    if callable(value) or kind.startswith(OPAQUE) or not hasattr(value, "__dict__"):
        return f"{kind} {getattr(value, '__qualname__', '')}"
    extra = getattr(value, "model_extra", None)
    return {"kind": kind, "extra": described(extra), **described(vars(value), "", seen)}


def _fault(error: BaseException, seen: tuple[int, ...]) -> dict[str, Any]:
    return {
        "args": described(error.args, "", seen),
        "message": described(str(error)),
        "attributes": described(vars(error), "", seen),
        "cause": described(error.__cause__, "", seen),
        "context": described(error.__context__, "", seen),
        "suppressed": error.__suppress_context__,
    }


@dataclass
class Run:
    """One run of a scenario.

    Attributes:
        base_url: Where the provider listens.
        kept: What gets compared besides the result and the requests that the provider saw.
    """

    base_url: str
    kept: list[Any] = field(default_factory=list)

    def keep(self, thing: T) -> T:
        """Have something compared in the state that the scenario leaves it in."""
        self.kept.append(thing)
        return thing

    async def client(self, model: str = MODEL, **options: Any) -> Any:
        """Build a client whose state is compared; options are the builder's methods and their argument, if any."""
        from ai_lib_python import AiClient

        builder = AiClient.builder().model(model).base_url(self.base_url)
        for name, value in options.items():
            getattr(builder, name)(*([] if value is None else [value]))
        return self.keep(await builder.build())


Scenario = Callable[[Run], Awaitable[Any]]


class Both(NamedTuple):
    """What an application sees of a scenario without and with the instrumentation."""

    without: dict[str, Any]
    instrumented: dict[str, Any]

    def differences(self) -> list[str]:
        """Name everything that differs."""
        return list(_differences(self.without, self.instrumented))


def _differences(without: Any, instrumented: Any, path: str = "") -> Iterator[str]:
    if isinstance(without, dict) and isinstance(instrumented, dict):
        for key in without | instrumented:
            if without.get("kind") == STATISTICS and key in FILLED_IN and without.get(key) in EMPTY:
                continue
            yield from _differences(without.get(key), instrumented.get(key), f"{path}.{key}")
    elif isinstance(without, list) and isinstance(instrumented, list) and len(without) == len(instrumented):
        for index, pair in enumerate(zip(without, instrumented, strict=True)):
            yield from _differences(*pair, f"{path}[{index}]")
    elif without != instrumented:
        yield f"{path}: {without!r} became {instrumented!r}"


@contextlib.contextmanager
def _transports() -> Iterator[list[HttpTransport]]:
    """Collect the transports that get made, those of fallback models too, which nobody else could close."""
    made: list[HttpTransport] = []
    initialise = HttpTransport.__init__

    def note(self: HttpTransport, *args: Any, **kwargs: Any) -> None:
        made.append(self)
        initialise(self, *args, **kwargs)

    HttpTransport.__init__ = note  # type: ignore[method-assign]
    try:
        yield made
    finally:
        HttpTransport.__init__ = initialise  # type: ignore[method-assign]


async def observe(scenario: Scenario, run: Run) -> dict[str, Any]:
    """Run a scenario and describe its result or exception and the objects that it keeps."""
    context = get_current()
    seen: dict[str, Any] = {}
    with _transports() as transports:
        try:
            seen["result"] = described(await scenario(run))
        except (Exception, asyncio.CancelledError) as error:
            seen["error"] = described(error)
    seen["context untouched"] = get_current() is context
    seen["kept"] = described(run.kept)
    seen["transports"] = described(transports)
    for transport in transports:
        await transport.close()
    return seen


@contextlib.contextmanager
def instrumentation(recorder: Recorder, **arguments: Any) -> Iterator[None]:
    """Instrument the runtime for the length of a ``with`` block."""
    AiLibInstrumentor().instrument(**recorder.providers, **arguments)
    try:
        yield
    finally:
        AiLibInstrumentor().uninstrument()


async def both(recorder: Recorder, scenario: Scenario, *scripts: Sequence[Step]) -> Both:
    """Run a scenario twice against one provider, which starts its scripts over, and record the second run."""
    async with provider(*scripts) as server:
        without = await observed_by(server, scenario)
        with instrumentation(recorder):
            instrumented = await observed_by(server, scenario)
    return Both(without, instrumented)


async def observed_by(server: Provider, scenario: Scenario) -> dict[str, Any]:
    """Run a scenario against a provider and add what the provider saw of it."""
    server.requests.clear()
    seen = await observe(scenario, Run(server.base_url))
    return {**seen, "requests": list(server.requests)}


Answer = Callable[[Run], httpx.Response]


def compare(recorder: Recorder, answer: Answer, call: Callable[[Run, Any], Awaitable[Any]], model: str = MODEL) -> Both:
    """Make a call in process twice, each time in a loop of its own, and fail where there is a difference.

    Args:
        recorder: Records the second time.
        answer: Makes the provider's answer.
        call: Makes the call, from a request builder.
        model: The model of the client.
    """

    async def scenario(run: Run) -> Any:
        # A stream that is open when the loop shuts down makes the runtime complain, now and then, with us or without.
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        ai = await run.client(model)
        transport = httpx.MockTransport(lambda request: answer(run))
        ai._transport._client = httpx.AsyncClient(transport=transport, base_url=run.base_url)
        return await asyncio.ensure_future(call(run, run.keep(ai.chat().user("Hello?"))))

    runs = Run(BASE_URL), Run(BASE_URL)
    without = asyncio.run(observe(scenario, runs[0]))
    with instrumentation(recorder):
        seen = Both(without, asyncio.run(observe(scenario, runs[1])))
    # What was left to the end of the loop: bodies that nobody closed before.
    later = Both(*({"later": described(run.kept)} for run in runs))
    assert seen.differences() + later.differences() == [], seen.differences() + later.differences()
    return seen


# --- what was exported ---


def operations(recorder: Recorder) -> list[ReadableSpan]:
    """Return the operation spans."""
    return [span for span in recorder.spans() if span.name.split(" ")[0] == "chat"]


def encoded(recorder: Recorder) -> bytes:
    """Return everything exported as OTLP sends it. What cannot be encoded raises, or is logged, which fails a test."""
    messages: list[Any] = [encode_spans(recorder.spans())]
    metrics = recorder.reader.get_metrics_data()
    if metrics is not None:
        messages.append(encode_metrics(metrics))
    messages.append(encode_logs(recorder._logs.get_finished_logs()))
    return b"".join(message.SerializeToString() for message in messages)


def assert_books_balance(recorder: Recorder) -> dict[str, Any]:
    """Assert one operation, counted once, no longer in flight, and all of it exportable; return its attributes."""
    (span,) = operations(recorder)
    assert [value for _, value in recorder.points("ai_lib.requests")] == [1]
    assert [value for _, value in recorder.points("ai_lib.requests.in_flight")] == [0]
    assert encoded(recorder)
    return dict(span.attributes or {})
