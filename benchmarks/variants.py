"""What is compared: the runtime alone, the instrumentation with more and more switched on, and the floors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Final

from floor import by_hand
from hanging import hanging, silent
from loads import CALLS, STREAM, Application, Load, sample
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.util.genai.environment_variables import OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT
from sdk import Sdk
from workload import Workload

from opentelemetry_instrumentation_ailib import AiLibInstrumentor

ABSENT: Final = "not installed"
GONE: Final = "after uninstrument()"
BARE: Final = "runtime alone"
API: Final = "no SDK"
API_TIMED: Final = "no SDK, chunk timing"
OUT: Final = "sampled out"
OUT_TIMED: Final = "sampled out, chunk timing"
OUT_FLOOR: Final = "sampled out, floor"
OUT_TIMED_FLOOR: Final = "sampled out, chunk timing, floor"
SDK: Final = "every signal"
SDK_TIMED: Final = "every signal, chunk timing"
SDK_FLOOR: Final = "every signal, floor"
SDK_TIMED_FLOOR: Final = "every signal, chunk timing, floor"
HANGING: Final = "every signal, exporter hangs"
CONTENT: Final = "every signal, content"


def everything(load: Load) -> bool:
    """Take any load."""
    return True


def essentials(load: Load) -> bool:
    """Take single calls and all streams but the longest."""
    return load.every == 1 and (load.kind != CALLS or load.size == 1)


def calls(load: Load) -> bool:
    """Take calls only: with their spans all is said that a stream's would say."""
    return load.kind == CALLS


def streams(load: Load) -> bool:
    """Take streams only: chunk timing makes no difference to a call."""
    return load.kind == STREAM


@dataclass(frozen=True)
class Variant:
    """One way to make the same calls.

    Attributes:
        name: What the report calls it.
        application: What makes them.
        active: The context manager in which it does.
        takes: Whether a load is worth measuring.
        flush: Exports what waits for it.
    """

    name: str
    application: Application
    active: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    takes: Callable[[Load], bool] = everything
    flush: Callable[[], None] = lambda: None

    async def sample(self, load: Load, clock: str) -> float:
        """Take a sample: microseconds of a call, or a stream, of the load."""
        with self.active():
            return await sample(self.application, load, clock)


@contextlib.contextmanager
def instrumented(chunk_timing: bool, **providers: Any) -> Iterator[None]:
    """Instrument the runtime for a while."""
    AiLibInstrumentor().instrument(chunk_timing=chunk_timing, stages="all", **providers)
    try:
        yield
    finally:
        AiLibInstrumentor().uninstrument()


@contextlib.contextmanager
def _with_content() -> Iterator[None]:
    os.environ[OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT] = "SPAN_AND_EVENT"
    try:
        yield
    finally:
        del os.environ[OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT]


@contextlib.contextmanager
def exporting(sdk: Sdk, active: AbstractContextManager[None] | None = None) -> Iterator[None]:
    """Enter a context manager for a while, and leave nothing to be exported."""
    with active or contextlib.nullcontext():
        yield
    sdk.flush()


class Variants:
    """All of them, each that needs an SDK with one of its own, until they are closed."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._stack = ExitStack()

    def __enter__(self) -> list[Variant]:
        """Return them in the order of the report."""
        return [
            Variant(BARE, self._workload),
            Variant(API, self._workload, lambda: instrumented(False)),
            Variant(API_TIMED, self._workload, lambda: instrumented(True), streams),
            self._ours(OUT, tracer_provider=TracerProvider(sampler=ALWAYS_OFF)),
            self._floor(OUT_FLOOR, sampled=False),
            self._ours(OUT_TIMED, timed=True, tracer_provider=TracerProvider(sampler=ALWAYS_OFF)),
            self._floor(OUT_TIMED_FLOOR, sampled=False, timed=True),
            self._ours(SDK),
            self._floor(SDK_FLOOR),
            self._hanging(),
            self._ours(SDK_TIMED, timed=True),
            self._floor(SDK_TIMED_FLOOR, timed=True),
            self._ours(CONTENT, environment=_with_content),
        ]

    def __exit__(self, *raised: object) -> None:
        """Shut the SDKs down."""
        self._stack.close()

    def _sdk(self, **providers: Any) -> Sdk:
        sdk = Sdk(**providers)
        self._stack.callback(sdk.shutdown)
        return sdk

    def _ours(
        self,
        name: str,
        *,
        timed: bool = False,
        environment: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        **providers: Any,
    ) -> Variant:
        sdk = self._sdk(**providers)

        @contextlib.contextmanager
        def active() -> Iterator[None]:
            with environment(), exporting(sdk, instrumented(timed, **vars(sdk))):
                yield

        return Variant(name, self._workload, active, streams if timed else everything, sdk.flush)

    def _floor(self, name: str, *, sampled: bool = True, timed: bool = False) -> Variant:
        sdk = self._sdk()
        floor = by_hand(self._workload, sdk, sampled=sampled, chunk_timing=timed)
        return Variant(name, floor, lambda: exporting(sdk), streams if timed else everything)

    def _hanging(self) -> Variant:
        sdk = self._stack.enter_context(hanging())

        @contextlib.contextmanager
        def active() -> Iterator[None]:
            with silent(), instrumented(False, **vars(sdk)):
                yield

        return Variant(HANGING, self._workload, active, calls)
