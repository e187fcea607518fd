"""The benchmark runs and says what it says it does. How long anything took is not asserted."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from conftest import ROOT

VARIANTS = [
    "uninstrumented",
    "instrumented, no SDK, chunk timing",
    "instrumented, SDK",
    "floor, SDK",
    "instrumented, SDK, chunk timing",
    "floor, SDK, chunk timing",
]
CHUNK_TIMING = VARIANTS[4:]
TINY = ["--seconds", "0", "--calls", "2", "--streams", "1", "--chunks", "2", "5"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark in a process of its own, a tiny one unless the arguments say otherwise."""
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks"), *TINY, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark's own module of that name."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import report as module

    return module


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark's own module of that name."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import ledger as module

    return module


def test_prints_a_row_per_variant_and_quantity_and_writes_the_same_to_a_file(tmp_path: Path) -> None:
    """One tiny run: the table names every variant under each quantity, the JSON file has their figures."""
    file = tmp_path / "figures.json"
    done = run("--json", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    calls, chunks, streams = done.stdout.split("\n\n")[1:4]
    for section, names in (
        (calls, [name for name in VARIANTS if name not in CHUNK_TIMING]),
        (chunks, VARIANTS),
        (streams, VARIANTS),
    ):
        assert [line[2:40].strip() for line in section.splitlines()[1:]] == names
    figures = json.loads(file.read_text())
    assert figures["settings"] == {
        "seconds": 0.0,
        "calls": 2,
        "streams": 1,
        "short": 2,
        "long": 5,
        "clock": "wall",
        "rounds": 1,
    }
    assert list(figures["microseconds"]) == VARIANTS
    for name, costs in figures["microseconds"].items():
        assert (costs["call"] is None) == (name in CHUNK_TIMING)
        known = [figure for cost in costs.values() if cost for figure in cost.values()]
        assert all(map(math.isfinite, known))
        assert len(known) == (4 if name in CHUNK_TIMING else 6)
    assert [(ratio["name"], ratio["budget"]) for ratio in figures["ratios"] if ratio["budget"]] == [
        ("call: overhead / overhead of the floor", 1.5),
        ("chunk: overhead / uninstrumented", 0.1),
    ]


def test_floor_and_instrumentation_emit_the_same_signals(tmp_path: Path) -> None:
    """The run compared them (it fails otherwise) and says how many there are."""
    file = tmp_path / "figures.json"
    assert run("--json", str(file)).returncode == 0
    emitted = json.loads(file.read_text())["emitted"]
    assert emitted["call"] == {"span": 4, "measurement": 14, "point": 13}
    assert emitted["stream"] == {"span": 5, "measurement": 19, "point": 18}
    # One for each chunk and for both events of the last frame, but for the first; all in one point.
    assert emitted["stream, chunk timing"] == {"span": 5, "measurement": 19 + 11, "point": 19}


def test_a_signal_that_only_one_of_the_two_emits_is_named(ledger: ModuleType) -> None:
    """The comparison of the books sees what is missing on either side, and how often."""
    found = ledger.differences(Counter({"span a": 2, "span b": 1}), Counter({"span a": 1, "point c": 1}))
    assert found == [
        "1 x only the instrumentation: span a",
        "1 x only the instrumentation: span b",
        "1 x only the floor: point c",
    ]


@pytest.mark.parametrize("clock", ["wall", "cpu"])
@pytest.mark.parametrize(("allowance", "code"), [("-inf", 1), ("inf", 0)])
def test_check_decides_the_exit_code(allowance: str, code: int, clock: str) -> None:
    """Whatever was measured is beyond an allowance endlessly below zero, and within an endless one."""
    assert run("--check", f"--allowance={allowance}", "--cpu-share=0", "--clock", clock).returncode == code


def test_check_gives_no_verdict_by_the_wall_clock_where_others_have_the_cores() -> None:
    """Figures that would pass prove nothing then, and neither do figures that would not."""
    for allowance in ("inf", "-inf"):
        done = run("--check", f"--allowance={allowance}", "--cpu-share=1000")
        assert done.returncode == 3
        assert "too busy for a verdict" in done.stderr


def test_check_by_cpu_time_does_not_mind_others() -> None:
    """Their time is not in it."""
    assert run("--check", "--allowance=inf", "--cpu-share=1000", "--clock", "cpu").returncode == 0


def test_without_check_a_broken_budget_is_only_printed() -> None:
    """The exit code stays 0."""
    done = run("--allowance=-inf")
    assert done.returncode == 0
    assert done.stdout.count("BROKEN") == 2


@pytest.mark.parametrize(
    ("median", "minimum", "verdict"),
    [
        (1.5, 9.0, "kept"),
        (1.6, 0.1, "at its limit"),
        (1.7, 0.1, "BROKEN"),
    ],
)
def test_the_median_decides_whether_a_budget_is_broken_by_more_than_the_allowance(
    report: ModuleType, median: float, minimum: float, verdict: str
) -> None:
    """A minimum, which may be a stroke of luck, excuses nothing."""
    assert report.Ratio("x", median, minimum, 1.5).verdict(0.1) == verdict


def test_a_ratio_without_a_budget_has_no_verdict(report: ModuleType) -> None:
    """However large it is."""
    assert report.Ratio("x", 1e9, 1e9).verdict(0.0) == ""


def test_refuses_streams_between_which_there_is_no_difference() -> None:
    """The cost of a chunk is a difference between two lengths."""
    done = run("--chunks", "5", "5")
    assert done.returncode == 2
    assert "the first number of chunks the smaller" in done.stderr


def test_a_ratio_to_a_floor_that_seems_free_is_null_in_the_file(report: ModuleType) -> None:
    """JSON knows no infinity."""
    assert report.plain(report.Ratio("x", math.inf, 2.0, 1.5), 0.1) == {
        "name": "x",
        "median": None,
        "minimum": 2.0,
        "budget": 1.5,
        "verdict": "BROKEN",
    }
