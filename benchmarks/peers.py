"""The peers: what others' instrumentations of the OpenAI SDK cost, with one span a call, on the same bodies.

They are optional, and so is the SDK. What is not installed is not measured.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from ledger import Ledger, counts
from loads import Load
from sdk import Sdk
from variants import Variant, exporting
from workload import Provider

OPENAI: Final = "OpenAI SDK"


@dataclass(frozen=True)
class Peer:
    """An instrumentation of the OpenAI SDK.

    Attributes:
        distribution: Its name on the index.
        module: Where its ``OpenAIInstrumentor`` is.
        environment: Variables that switch the capture of content off.
    """

    distribution: str
    module: str
    environment: Mapping[str, str] = field(default_factory=dict)


PEERS: Final = (
    Peer("opentelemetry-instrumentation-genai-openai", "opentelemetry.instrumentation.genai.openai"),
    Peer(
        "opentelemetry-instrumentation-openai",
        "opentelemetry.instrumentation.openai",
        {"TRACELOOP_TRACE_CONTENT": "false"},
    ),
    Peer(
        "openinference-instrumentation-openai",
        "openinference.instrumentation.openai",
        {"OPENINFERENCE_HIDE_INPUTS": "true", "OPENINFERENCE_HIDE_OUTPUTS": "true"},
    ),
)
NAMES: Final = tuple(peer.distribution for peer in PEERS)


def installed() -> dict[str, str]:
    """Return the versions of what is installed: the SDK and the peers."""
    versions = {}
    for name in ("openai", *NAMES):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


class OpenAI:
    """A client of the OpenAI SDK whose provider answers at once.

    Attributes:
        provider: What answers.
        classes: The SDK's classes whose methods a call runs through, which the peers patch.
    """

    def __init__(self) -> None:
        openai = importlib.import_module("openai")
        default = openai.AsyncOpenAI(api_key="none")
        # Newer releases of the SDK have moved to another package with the names of httpx.
        (library,) = {
            kind.__module__.partition(".")[0]
            for kind in type(default._client).__mro__
            if kind.__name__ == "AsyncClient"
        }
        self.provider = Provider(importlib.import_module(library))
        self._client = openai.AsyncOpenAI(
            api_key="none", base_url="https://api.openai.example/v1", http_client=self.provider.client()
        )
        used = (*type(self._client).__mro__, *type(self._client.chat.completions).__mro__)
        self.classes = [each for each in used if each.__module__.partition(".")[0] == "openai"]

    async def _create(self, **more: Any) -> Any:
        return await self._client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Hello"}], temperature=0.7, max_tokens=100, **more
        )

    async def call(self) -> None:
        """Make one call."""
        await self._create()

    async def events(self, chunks: int) -> AsyncIterator[Any]:
        """Yield the events of a new stream."""
        self.provider.chunks = chunks
        stream = await self._create(stream=True)
        try:
            async for event in stream:
                yield event
        finally:
            await stream.close()

    async def stream(self, chunks: int) -> None:
        """Read one stream to its end."""
        self.provider.chunks = chunks
        async for _ in await self._create(stream=True):
            pass

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()


@contextmanager
def _restored(classes: Sequence[type]) -> Iterator[None]:
    """Put back what classes had: not every peer's ``uninstrument()`` does, and wrappers would pile up."""
    before = {changed: dict(vars(changed)) for changed in classes}
    try:
        yield
    finally:
        for changed, attributes in before.items():
            for name, value in dict(vars(changed)).items():
                if name not in attributes:
                    delattr(changed, name)
                elif attributes[name] is not value:
                    setattr(changed, name, attributes[name])


@contextmanager
def _instrumented(peer: Peer, openai: OpenAI, **providers: Any) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(peer.environment)
    instrumentor = importlib.import_module(peer.module).OpenAIInstrumentor()
    with _restored(openai.classes):
        instrumentor.instrument(skip_dep_check=True, **providers)
        try:
            yield
        finally:
            instrumentor.uninstrument()
            os.environ.clear()
            os.environ.update(before)


class Peers:
    """The SDK and its instrumentations, one active at a time, until they are closed.

    Args:
        takes: Whether a load is worth measuring.

    Attributes:
        openai: What makes the calls.
        variants: What can be measured, the SDK alone first.
        emitted: How many spans, measurements and points a call of each peer emits.
    """

    def __init__(self, takes: Callable[[Load], bool]) -> None:
        self.openai = OpenAI()
        self._takes = takes
        self._sdks: list[Sdk] = []
        self.variants: list[Variant] = [Variant(OPENAI, self.openai, takes=takes)]
        self.emitted: dict[str, dict[str, int]] = {}

    @classmethod
    async def create(cls, takes: Callable[[Load], bool]) -> Peers | None:
        """Return them, or nothing where the SDK is not installed.

        A peer that does not make one span of a call, and none of the next when it is off, is left out.

        Args:
            takes: Whether a load is worth measuring.
        """
        found = installed()
        if "openai" not in found:
            return None
        peers = cls(takes)
        for peer in PEERS:
            if peer.distribution in found:
                await peers._add(peer)
        return peers

    async def _add(self, peer: Peer) -> None:
        ledger = Ledger(sampled=True)
        providers = {"tracer_provider": ledger.tracer_provider, "meter_provider": ledger.meter_provider}
        with _instrumented(peer, self.openai, **providers):
            await self.openai.call()
        # Of this one nothing more may be seen.
        await self.openai.call()
        emitted = self.emitted[peer.distribution] = counts(ledger.entries())
        if emitted["span"] != 1:
            return
        sdk = Sdk()
        self._sdks.append(sdk)
        self.variants.append(
            Variant(
                peer.distribution,
                self.openai,
                lambda: exporting(sdk, _instrumented(peer, self.openai, **vars(sdk))),
                self._takes,
                sdk.flush,
            )
        )

    async def close(self) -> None:
        """Shut the SDKs down and close the client."""
        for sdk in self._sdks:
            sdk.shutdown()
        await self.openai.close()
