"""The current context, by way of the variable that holds it."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry.context import Context

from opentelemetry_instrumentation_ailib import context

ENTERED = Context({"a": "b"})


def test_it_is_opentelemetrys() -> None:
    token = context.attach(ENTERED)
    assert otel_context.get_current() is context.current() is ENTERED
    context.detach(token)
    assert otel_context.get_current() == context.current() == Context()


def test_what_opentelemetry_attached_is_current() -> None:
    token = otel_context.attach(ENTERED)
    assert context.current() is ENTERED
    otel_context.detach(token)


def test_nothing_attached_is_nothing_to_detach() -> None:
    context.detach(None)
    context.detach(None, GeneratorExit())


class Stack:
    """A runtime context that keeps its contexts in a list."""

    def __init__(self) -> None:
        self.contexts = [Context()]

    def attach(self, entered: Context) -> object:
        """Enter one."""
        self.contexts.append(entered)
        return self

    def get_current(self) -> Context:
        """Return the last."""
        return self.contexts[-1]

    def detach(self, token: object) -> None:
        """Leave the last."""
        assert token is self
        self.contexts.pop()


class Elsewhere(Stack):
    """One that hands out a token of a variable in which it keeps something else."""

    variable: contextvars.ContextVar[str] = contextvars.ContextVar("elsewhere")

    def attach(self, entered: Context) -> Any:
        """Enter one."""
        super().attach(entered)
        return self.variable.set("anything")

    def detach(self, token: object) -> None:
        """Leave the last."""
        self.variable.reset(token)  # type: ignore[arg-type]
        self.contexts.pop()


@pytest.fixture(params=[Stack, Elsewhere])
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """Have OpenTelemetry keep contexts in another place than the variable of its own runtime context."""
    stack: Stack = request.param()
    monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", stack)
    yield stack
    assert stack.contexts == [Context()]


def test_another_runtime_context_is_asked_by_opentelemetrys_functions(runtime: Stack) -> None:
    known = context._variable()
    token = known.set(ENTERED)
    assert known.get() is runtime.contexts[-1] is ENTERED
    known.reset(token)
    assert known.get() == Context()
