"""What the SDK and the logging system are made of raises: handlers, record factories, samplers, ids, collections."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from ai_lib_python.resilience import ResilientConfig, ResilientExecutor
from opentelemetry.sdk.trace import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler, SamplingResult
from unmoved import CASES, LABELS, Case, assert_recorded, unmoved

from components import GAUGES
from differential import instrumentation
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from provider import body, completion
from recorder import Recorder
from resilient import fast, refusal, served

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_way = pytest.mark.parametrize("case", [CASES["execute"], CASES["stream"]], ids=["execute", "stream"])
swallowed = pytest.mark.swallowed
complains = pytest.mark.noisy("opentelemetry_instrumentation_ailib")


# --- the logging system ---


@pytest.fixture
def every_level() -> Iterator[None]:
    ours = [logging.getLogger(name) for name in ("ai_lib", "opentelemetry_instrumentation_ailib")]
    for logger in ours:
        logger.setLevel(1)
    yield
    for logger in ours:
        logger.setLevel(logging.NOTSET)


class Broken(logging.Handler):
    """A handler and a filter that raise, whatever they get."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise LookupError("a handler of the application's")

    def filter(self, record: logging.LogRecord) -> bool:
        raise LookupError("a filter of the application's")


def break_factory(patch: pytest.MonkeyPatch) -> None:
    def factory(*_: Any, **__: Any) -> logging.LogRecord:
        raise LookupError("a record factory of the application's")

    patch.setattr(logging, "_logRecordFactory", factory)


def break_root(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(logging.getLogger(), "handlers", [Broken()])


def break_loggers(patch: pytest.MonkeyPatch) -> None:
    for logger in map(
        logging.getLogger, ("ai_lib.request", "ai_lib.stream", "opentelemetry_instrumentation_ailib.guard")
    ):
        patch.setattr(logger, "filters", [Broken()])


@each_case
@swallowed
@pytest.mark.usefixtures("every_level")
@pytest.mark.parametrize("break_it", [break_factory, break_root, break_loggers])
def test_a_logging_system_that_raises(
    break_it: Callable[[pytest.MonkeyPatch], None], case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be logged, not even that: neither the record nor our complaint about it."""
    levels = [logger.level for logger in map(logging.getLogger, ("httpx", "httpcore", "asyncio"))]
    recorder = Recorder()
    with monkeypatch.context() as patch:
        for name in ("httpx", "httpcore", "asyncio"):
            patch.setattr(logging.getLogger(name), "disabled", True)
        break_it(patch)
        unmoved(recorder, case)
    assert [logger.level for logger in map(logging.getLogger, ("httpx", "httpcore", "asyncio"))] == levels
    assert_recorded(recorder, case)


async def test_where_no_logging_is_set_up_a_call_that_outlives_us_prints_nothing(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python prints a warning that nobody handles; as long as we are there, somebody of ours does."""
    AiLibInstrumentor().instrument(**recorder.providers)
    async with served(refusal(503), body(completion()), retry=fast(1)) as (_, ai):
        post = ai._transport.post

        async def uninstrument(*args: Any, **kwargs: Any) -> Any:
            ai._transport.post = post
            AiLibInstrumentor().uninstrument()
            return await post(*args, **kwargs)

        ai._transport.post = uninstrument
        with monkeypatch.context() as patch:
            patch.setattr(logging.getLogger(), "handlers", [])
            await ai.chat().user("Hello?").execute()
    assert [event.name for event in recorder.span("chat gpt-4o").events] == ["ai_lib.retry"]
    assert capsys.readouterr().err == ""


# --- samplers and ids ---


class Choosy(Sampler):
    """A sampler that does something else for spans of one name.

    Args:
        name: The name; all of them, if empty.
        instead: What it does.
    """

    def __init__(self, name: str, instead: Callable[[], Any]) -> None:
        self._name = name
        self._instead = instead

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *args: Any, **kwargs: Any) -> SamplingResult:
        if self._name in ("", name):
            return self._instead()  # type: ignore[no-any-return]
        return ALWAYS_ON.should_sample(parent_context, trace_id, name, *args, **kwargs)

    def get_description(self) -> str:
        return "Choosy"


def refuse() -> Any:
    raise LookupError("no such luck")


@each_way
@swallowed
@complains
@pytest.mark.parametrize("instead", [refuse, lambda: None], ids=["raises", "returns nothing"])
@pytest.mark.parametrize("name", ["", *CASES["stream"].names])
def test_a_sampler_that_fails(name: str, instead: Callable[[], Any], case: Case) -> None:
    recorder = Recorder(sampler=Choosy(name, instead))
    unmoved(recorder, case)
    kept = [span for span in case.names if name and span != name and name != case.names[-1]]
    if name == "" or name == "chat gpt-4o":
        # Without a span of its own the call is not recorded. Only loading the manifest was.
        assert recorder.points("ai_lib.requests") == []
        assert [span for span in recorder.names() if span != "ai_lib.protocol.load"] == []
    else:
        assert [span for span in recorder.names() if span != "ai_lib.protocol.load"] == sorted(kept)
        assert recorder.points("ai_lib.requests") == [(LABELS, 1)]
    assert [value for _, value in recorder.points("ai_lib.requests.in_flight")] in ([], [0])


async def test_of_a_call_that_a_sampler_drops_no_stage_is_left_alone() -> None:
    """The manifest of a fallback would be the root of a trace."""
    recorder = Recorder(sampler=Choosy("chat gpt-4o", lambda: SamplingResult(Decision.DROP)))
    with instrumentation(recorder):
        async with served(refusal(503), body(completion()), fallbacks=["anthropic/claude"]) as (_, ai):
            assert recorder.names() == ["ai_lib.protocol.load"]
            await ai.chat().user("Hello?").execute()
        assert recorder.names() == ["ai_lib.protocol.load"]
        assert recorder.points("ai_lib.requests") == [({**LABELS, "provider": "anthropic", "model": "claude"}, 1)]
        assert recorder.counts("ai_lib.stage.duration", "stage")["protocol.load"] == 2


class Ids(RandomIdGenerator):
    """Ids that go wrong from a certain one on.

    Args:
        good: How many span ids are good.
        bad: What comes then.
    """

    def __init__(self, good: int, bad: Callable[[], Any]) -> None:
        self._good = good
        self._bad = bad

    def generate_span_id(self) -> int:
        self._good -= 1
        return super().generate_span_id() if self._good >= 0 else self._bad()  # type: ignore[no-any-return]


@each_way
@swallowed
@complains
@pytest.mark.parametrize("bad", [refuse, lambda: 0, lambda: "id"], ids=["raises", "zero", "text"])
@pytest.mark.parametrize("good", range(4))
def test_ids_that_fail(good: int, bad: Callable[[], Any], case: Case) -> None:
    generator: IdGenerator = Ids(good, bad)
    recorder = Recorder(id_generator=generator)
    unmoved(recorder, case)
    assert [value for _, value in recorder.points("ai_lib.requests.in_flight")] in ([], [0])
    requests: Sequence[Any] = recorder.points("ai_lib.requests")
    # The manifest's span takes the first id and the call's the second.
    assert len(requests) == 1 or good < 2


# --- collections while clients come and go ---


def test_gauges_that_are_read_while_executors_come_and_go(instrumented: Recorder) -> None:
    stopped, failures = threading.Event(), []

    def read() -> None:
        while not stopped.is_set():
            try:
                instrumented.metric_names()
            except BaseException as error:
                failures.append(error)
                raise

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()

    async def succeed() -> None:
        await asyncio.sleep(0)

    async def come_and_go() -> None:
        for number in range(200):
            executor = ResilientExecutor(ResilientConfig.production(), name=f"executor-{number % 7}")
            await executor.execute(succeed)

    asyncio.run(come_and_go())
    stopped.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert [instrumented.points(name) for name in GAUGES] == [[]] * len(GAUGES)
