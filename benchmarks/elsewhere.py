"""The runtime in a process of its own: one that never imports the instrumentation, one that switched it on and off.

Where all variants take turns, classes are patched again and again, and each time the interpreter forgets what it had
found out about their methods. That is no place to see what ``uninstrument()`` leaves.

Run as a program it takes loads, one a line in JSON, and answers each with its microseconds.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Final

from loads import CALLS, STREAM, Load, sample
from workload import Workload

_PACKAGE: Final = "opentelemetry_instrumentation_ailib"
_UNINSTRUMENTED: Final = "--uninstrumented"


class Elsewhere:
    """The other process.

    Attributes:
        name: What the report calls it.
        takes: Whether a load is worth measuring.
    """

    def __init__(self, name: str, takes: Callable[[Load], bool], questions: IO[str], answers: IO[str]) -> None:
        self.name = name
        self.takes = takes
        self._questions = questions
        self._answers = answers

    async def sample(self, load: Load, clock: str) -> float:
        """Let the other process take a sample, and wait for it."""
        self._questions.write(json.dumps({"clock": clock, "load": asdict(load)}) + "\n")
        self._questions.flush()
        return float(json.loads(self._answers.readline()))


@contextmanager
def elsewhere(name: str, takes: Callable[[Load], bool], *, uninstrumented: bool = False) -> Iterator[Elsewhere]:
    """Run the other process for a while.

    Args:
        name: What the report calls it.
        takes: Whether a load is worth measuring.
        uninstrumented: It switches the instrumentation on and off before anything is measured.
    """
    process = subprocess.Popen(
        [sys.executable, __file__, *([_UNINSTRUMENTED] if uninstrumented else ())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # As any process of the application: the instrumentation is there for those who ask.
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )
    if process.stdin is None or process.stdout is None:  # It has pipes; mypy cannot know.
        raise RuntimeError("no pipes")
    with process:
        try:
            yield Elsewhere(name, takes, process.stdin, process.stdout)
        finally:
            process.stdin.close()
    if process.returncode:
        raise RuntimeError(f"the other process ended with {process.returncode}")


async def _use(workload: Workload) -> None:
    for kind in (CALLS, STREAM):
        await sample(workload, Load(kind, 1, 1), "cpu")


async def _answer(uninstrumented: bool) -> None:
    workload = await Workload.create()
    await _use(workload)
    if uninstrumented:
        instrumentor = importlib.import_module(_PACKAGE).AiLibInstrumentor()
        instrumentor.instrument()
        await _use(workload)
        instrumentor.uninstrument()
        await _use(workload)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        question = json.loads(line)
        microseconds = await sample(workload, Load(**question["load"]), question["clock"])
        sys.stdout.write(f"{microseconds!r}\n")
        sys.stdout.flush()
    await workload.close()
    if uninstrumented != any(name.startswith(_PACKAGE) for name in sys.modules):
        raise RuntimeError("the instrumentation was imported where it was not to be, or not where it was")


if __name__ == "__main__":
    asyncio.run(_answer(_UNINSTRUMENTED in sys.argv))
