"""The runtime where the instrumentation is not installed: measured in a process of its own, which never imports it.

Run as a program it takes loads, one a line in JSON, and answers each with its microseconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from loads import CALLS, STREAM, Load, sample
from workload import Workload


class Elsewhere:
    """The other process.

    Attributes:
        name: What the report calls it.
    """

    def __init__(self, name: str, questions: IO[str], answers: IO[str]) -> None:
        self.name = name
        self._questions = questions
        self._answers = answers

    def takes(self, load: Load) -> bool:
        """Take any load."""
        return True

    async def sample(self, load: Load, clock: str) -> float:
        """Let the other process take a sample, and wait for it."""
        self._questions.write(json.dumps({"clock": clock, "load": asdict(load)}) + "\n")
        self._questions.flush()
        return float(json.loads(self._answers.readline()))


@contextmanager
def elsewhere(name: str) -> Iterator[Elsewhere]:
    """Run the other process for a while."""
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # As any process of the application: the instrumentation is there for those who ask.
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    if process.stdin is None or process.stdout is None:  # It has pipes; mypy cannot know.
        raise RuntimeError("no pipes")
    with process:
        try:
            yield Elsewhere(name, process.stdin, process.stdout)
        finally:
            process.stdin.close()
    if process.returncode:
        raise RuntimeError(f"the other process ended with {process.returncode}")


async def _answer() -> None:
    workload = await Workload.create()
    for kind in (CALLS, STREAM):
        await sample(workload, Load(kind, 1, 1), "cpu")
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        question = json.loads(line)
        microseconds = await sample(workload, Load(**question["load"]), question["clock"])
        sys.stdout.write(f"{microseconds!r}\n")
        sys.stdout.flush()
    await workload.close()
    if any(name.startswith("opentelemetry_instrumentation_ailib") for name in sys.modules):
        raise RuntimeError("the instrumentation was imported")


if __name__ == "__main__":
    asyncio.run(_answer())
