"""Processes: forked after the instrumentation is on, and ended in any way while a stream is open."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unmoved import CALL, STREAM

from differential import Both

FOLDER = Path(__file__).resolve().parent
PACKAGE = "opentelemetry_instrumentation_ailib"
LOADED = ["ai_lib.protocol.load"]


@pytest.fixture(scope="module")
def programs() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The programs of this folder, running side by side: each takes a while to import what it needs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment.update(AI_PROTOCOL_DIR=str(FOLDER.parent / "protocol"), OPENAI_API_KEY="secret")
    environment.update(PYTHONPATH=os.pathsep.join(map(str, (FOLDER, FOLDER.parent))))
    # From 3.12 on Python warns of a fork in a process with threads, of which a batch processor is one.
    command = [sys.executable, "-W", "ignore::DeprecationWarning"]
    running = {
        name: subprocess.Popen(
            [*command, str(FOLDER / name)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("forking.py", "ways_to_end.py")
    }
    yield running
    for program in running.values():
        program.kill()
        program.communicate()


def printed(program: subprocess.Popen[str]) -> Any:
    """Return what a program prints when it is done, and fail where it does anything else."""
    output, complaints = program.communicate(timeout=120)
    assert (program.returncode, complaints) == (0, "")
    return json.loads(output)


# --- forks ---


@pytest.fixture(scope="module")
def forks(programs: dict[str, subprocess.Popen[str]]) -> Any:
    return printed(programs["forking.py"])


@pytest.mark.parametrize("child", ["parent", "worker", "halfway", "fork", "spawn"])
def test_calls_of_a_child_work_and_their_spans_arrive(forks: Any, child: str) -> None:
    assert forks[child].get("status", 0) == 0
    assert Both({"seen": forks["without"]}, {"seen": forks[child]["seen"]}).differences() == []
    assert forks[child]["spans"] == sorted([*LOADED, *CALL, *STREAM])
    assert forks[child]["counted"] == 2


def test_a_fork_halfway_leaves_the_parents_calls_alone(forks: Any) -> None:
    assert Both({"seen": forks["without"]}, {"seen": forks["seen halfway"]}).differences() == []
    assert forks["counted"] == 4
    assert forks["in flight"] == [0]
    assert sorted(name for name, _ in forks["ids"]) == sorted([*LOADED * 3, *CALL * 2, *STREAM * 2])


def test_no_span_is_exported_by_two_processes(forks: Any) -> None:
    parents = {identifier for _, identifier in forks["ids"]}
    ids = [parents, *({identifier for _, identifier in forks[child]["ids"]} for child in ("worker", "halfway", "fork"))]
    assert len(set().union(*ids)) == sum(map(len, ids))


# --- ends ---

# What asyncio says of the runtime's own generators that are open at the end, more or less of it by chance.
THE_RUNTIMES = (
    "an error occurred during closing of asynchronous generator",
    "asyncgen: <async_generator object",
    "Traceback (most recent call last):",
    "GeneratorExit",
    "During handling of the above exception, another exception occurred:",
    "RuntimeError: generator didn't stop after athrow()",
    "RuntimeError: aclose(): asynchronous generator is already running",
)


@pytest.fixture(scope="module")
def ends(programs: dict[str, subprocess.Popen[str]]) -> Any:
    return printed(programs["ways_to_end.py"])


def lines(complaints: str) -> list[str]:
    """Return the lines that say what happened, without those that say where."""
    plain = re.sub(r"0x[0-9a-f]+|Task-\d+", "", complaints).splitlines()
    return [line for line in plain if line.strip() and not line.startswith((" ", *THE_RUNTIMES))]


@pytest.mark.parametrize(
    "end", ["leave", "keep", "leave_a_task", "leave_the_program", "fail", "be_interrupted", "be_terminated"]
)
def test_a_program_ends_as_without_us(ends: Any, end: str) -> None:
    without, instrumented = ends[end]
    assert instrumented[0] == without[0]
    assert lines(instrumented[2]) == lines(without[2])
    # No exception comes out of a line of ours.
    where = re.findall(r'File "([^"]+)".*\n(?: .*\n)*(?=\S)', instrumented[2])
    assert not any(PACKAGE in file for file in where)
    ended = [] if end == "be_terminated" else [*LOADED, *STREAM]
    assert sorted(instrumented[1].splitlines()) == sorted(ended)


def test_the_ends_are_those_that_they_are_called(ends: Any) -> None:
    status = {end: os.waitstatus_to_exitcode(both[0][0]) for end, both in ends.items()}
    assert status == {
        "leave": 0,
        "keep": 0,
        "leave_a_task": 0,
        "leave_the_program": 7,
        "fail": 1,
        "be_interrupted": -2,
        "be_terminated": -15,
    }
    assert lines(ends["fail"][1][2])[-1].endswith("FailedError: nobody catches it")
