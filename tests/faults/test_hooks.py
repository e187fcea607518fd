"""Hooks of the application's that end the program, are awaited by nobody, or do with the span what they like."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.context import get_current
from opentelemetry.trace import Span
from unmoved import CASES, LABELS, Case, Surrounded, assert_recorded, connected, unmoved

from differential import operations
from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from recorder import Recorder

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_way = pytest.mark.parametrize("case", [CASES["execute"], CASES["stream"]], ids=["execute", "stream"])

HOOKS = ("request_hook", "response_hook", "completion_hook")
each_hook = pytest.mark.parametrize("hook", HOOKS)


class Completions:
    """A completion hook that is a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.on_completion = function


def hooked(hook: str, function: Callable[..., Any]) -> dict[str, Any]:
    """Return the argument of ``instrument()`` for one of the hooks."""
    return {hook: Completions(function) if hook == "completion_hook" else function}


@each_hook
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_ends_a_program_ends_it_from_a_hook_too(hook: str, error: type[BaseException]) -> None:
    """``sys.exit()`` and Ctrl-C are nobody's fault. The context is the caller's again, and later calls work."""
    ending = error("enough")
    endings = [ending]

    def end(*_: Any, **__: Any) -> None:
        if armed:
            raise endings.pop()

    armed, recorder = True, Recorder()
    AiLibInstrumentor().instrument(**recorder.providers, **hooked(hook, end))
    ai, context = await connected(), get_current()
    with pytest.raises(error) as caught:
        await ai.chat().user("Hello?").execute()
    assert caught.value is ending
    assert get_current() is context
    del caught, ending
    gc.collect()  # Python would say here that something was never awaited.
    armed = False
    recorder.clear()
    assert (await ai.chat().user("Hello?").execute()).content == "Hello"
    assert recorder.names() == CASES["execute"].names
    AiLibInstrumentor().uninstrument()
    await ai.close()


@each_case
@each_hook
def test_a_hook_that_is_a_coroutine_function_by_mistake(hook: str, case: Case) -> None:
    """Python says that nobody awaited it, and that is all that happens."""

    async def awaited_by_nobody(*_: Any, **__: Any) -> None:
        """Never run."""

    recorder = Surrounded(hooked(hook, awaited_by_nobody))
    # It is no answer that fails.
    if hook == "response_hook" and case.error and case.call is CASES["execute"].call:
        unmoved(recorder, case)
    else:
        with pytest.warns(RuntimeWarning, match="awaited_by_nobody' was never awaited"):
            unmoved(recorder, case)
    assert_recorded(recorder, case)


def end_it(span: Span, *_: Any) -> None:
    span.end()


def rename_it(span: Span, *_: Any) -> None:
    span.update_name("mine")
    span.set_attribute("gen_ai.operation.name", "mine")


def fill_it(span: Span, *_: Any) -> None:
    for number in range(500):
        span.set_attribute(f"attribute-{number}", "x" * 500)


@each_way
@pytest.mark.noisy("opentelemetry")  # The SDK warns of what is done to a span that has ended.
@pytest.mark.parametrize("hook", ["request_hook", "response_hook"])
@pytest.mark.parametrize("treat", [end_it, rename_it, fill_it])
def test_a_hook_that_mistreats_the_span(treat: Callable[..., None], hook: str, case: Case) -> None:
    recorder = Surrounded(hooked(hook, treat))
    unmoved(recorder, case)
    assert recorder.points("ai_lib.requests") == [(LABELS, 1)]
    assert recorder.points("ai_lib.requests.in_flight") == [(LABELS, 0)]
    assert len(recorder.names()) == 1 + len(case.names)


@each_case
def test_a_completion_hook_that_empties_what_it_gets(case: Case) -> None:
    def empty(*, inputs: list[Any], outputs: list[Any], system_instruction: list[Any], **_: Any) -> None:
        for messages in (inputs, outputs, system_instruction):
            messages.clear()

    recorder = Surrounded(hooked("completion_hook", empty))
    unmoved(recorder, case)
    assert_recorded(recorder, case)


@each_way
@each_hook
def test_a_hook_that_begins_another_round(hook: str, case: Case) -> None:
    """The call under way ends where it began."""

    def begin_another(*_: Any, **__: Any) -> None:
        AiLibInstrumentor().uninstrument()
        AiLibInstrumentor().instrument(**Recorder().providers)

    recorder = Surrounded(hooked(hook, begin_another))
    unmoved(recorder, case)
    assert recorder.points("ai_lib.requests") == [(LABELS, 1)]
    assert recorder.points("ai_lib.requests.in_flight") == [(LABELS, 0)]
    assert len(operations(recorder)) == 1
