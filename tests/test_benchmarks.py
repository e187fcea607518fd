"""The benchmark runs and says what it says it does. How long anything took is not asserted."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
import threading
from argparse import Namespace
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pstats import Stats
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from conftest import ROOT

GONE = "after uninstrument()"
HANGING = "every signal, exporter hangs"
CALLS = [
    "not installed",
    GONE,
    "runtime alone",
    "no SDK",
    "sampled out",
    "sampled out, floor",
    "every signal",
    "every signal, floor",
    HANGING,
    "every signal, content",
]
STREAMS = [
    *CALLS[:4],
    "no SDK, chunk timing",
    *CALLS[4:6],
    "sampled out, chunk timing",
    "sampled out, chunk timing, floor",
    *CALLS[6:8],
    "every signal, chunk timing",
    "every signal, chunk timing, floor",
    CALLS[9],
]
TITLES = {
    "call": "a call",
    "call, few at once": "a call, 2 at once",
    "call, many at once": "a call, 3 at once",
    "stream": "a stream without its chunks",
    "chunk, early": "a chunk, from 1 to 2",
    "chunk": "a chunk, from 2 to 5",
    "chunk, late": "a chunk, from 5 to 9",
}
DRAWN = ("call", "call, many at once", "stream", "chunk", "chunk, late")
TINY = [
    *("--no-peers", "--seconds", "0", "--calls", "2", "--at-once", "2", "3", "--chunks", "1", "2", "5", "9"),
    *("--starts", "1", "--open-streams", "2", "--calls-for-memory", "33", "--series", "150"),
]
Module = Callable[[str], ModuleType]


def measured(title: str) -> list[str]:
    """Return the variants that a quantity is measured of."""
    names = CALLS if title.startswith("call") else STREAMS
    return [name for name in names if name != GONE or title in ("call", "stream", "chunk, early", "chunk")]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark in a process of its own, a tiny one unless the arguments say otherwise."""
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks"), *TINY, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Module:
    """Imports one of the benchmark's own modules."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


def test_one_run_prints_writes_and_draws_everything(tmp_path: Path) -> None:
    """One tiny run: tables name every variant under each quantity; the file has the figures, the picture the bars."""
    file, picture = tmp_path / "figures.json", tmp_path / "costs.svg"
    done = run("--json", str(file), "--picture", str(picture))
    assert (done.returncode, done.stderr) == (0, "")

    heading, *sections = done.stdout.split("\n\n")
    assert heading.endswith("no peers were measured: the OpenAI SDK or its instrumentations are not installed")
    tables = sections[: len(TITLES)]
    assert [table[:46].strip() for table in tables] == [f"{title} (µs)" for title in TITLES.values()]
    for title, table in zip(TITLES, tables, strict=True):
        assert [line[2:46].strip() for line in table.splitlines()[1:]] == measured(title)
    assert [section.split("\n")[0].split(" ")[0] for section in sections[len(TITLES) :]] == [
        "a",
        "start",
        "memory",
        "a",
        "budgets",
    ]

    figures = json.loads(file.read_text())
    assert figures["settings"] == {
        "seconds": 0.0,
        "calls": 2,
        "at_once": [2, 3],
        "chunks": [1, 2, 5, 9],
        "clock": "wall",
        "rounds": 1,
    }
    assert figures["quantities"] == TITLES
    assert sorted(figures["microseconds"]) == sorted([HANGING, *STREAMS])
    for name, costs in figures["microseconds"].items():
        assert list(costs) == [title for title in TITLES if name in measured(title)]
        known = [figure for cost in costs.values() for figure in cost.values()]
        assert all(map(math.isfinite, known))
    _check_sections(figures)

    bars = ElementTree.parse(picture).getroot().findall("{*}rect")  # noqa: S314 (we wrote it)
    assert len(bars) == 1 + 2 * sum(len(measured(title)) for title in DRAWN)


def _check_sections(figures: dict[str, Any]) -> None:
    assert figures["emitted"] == {
        "call": {"span": 4, "measurement": 14, "point": 13},
        "stream": {"span": 5, "measurement": 19, "point": 18},
        # One for each chunk and for both events of the last frame, but for the first; all in one point.
        "stream, chunk timing": {"span": 5, "measurement": 19 + 11, "point": 19},
        "call, sampled out": {"span": 0, "measurement": 14, "point": 13},
        "stream, sampled out": {"span": 0, "measurement": 19, "point": 18},
        "stream, sampled out, chunk timing": {"span": 0, "measurement": 19 + 11, "point": 19},
    }
    assert set(figures["flat"]) == {"chunks", "every signal", "every signal, chunk timing"}
    assert figures["startup"]["runtime_modules"] == 0
    assert figures["startup"]["modules"]["opentelemetry_instrumentation_ailib"] > 40
    assert set(figures["memory"]) == {
        *("no SDK, chunk timing", "sampled out, chunk timing", "every signal, chunk timing", "every signal, content"),
        *("its spans alone, by hand", "every signal, without its spans"),
        *("calls", "names", "some", "blocks", "blocks_a_call"),
    }
    assert [figures["memory"][name] for name in ("calls", "names", "some")] == [33, 11, 22]
    assert figures["scrape"]["series"] >= 150
    assert [row["name"] for row in figures["budgets"] if row["enforced"] == "on request"] == [
        "chunk: overhead / runtime's",
        "chunk: overhead (µs)",
        "chunk, no SDK: overhead (µs)",
        "chunk, timed, no SDK: overhead (µs)",
    ]
    assert {row["name"]: row["limit"] for row in figures["budgets"] if row["enforced"] == "always"} == {
        "call: total / floor": 1.2,
        "call, exporter hangs: total / not": 1.1,
        "call, uninstrumented: total / not installed": 1.0,
        "chunk, timed: total / floor": 1.1,
        "chunk, uninstrumented: total / not installed": 1.0,
        "chunk: growth of overhead / runtime's": 0.1,
        "chunk, timed: growth of overhead / runtime's": 0.1,
        "instrument() (ms)": 50.0,
        "modules of the runtime that we import": 0.0,
        "memory of an open stream, no SDK (bytes)": 3 * 1024,
        "memory that a call leaves (blocks)": 0.05,
    }


def test_a_signal_that_only_one_of_the_two_emits_is_named(module: Module) -> None:
    """The comparison of the books sees what is missing on either side, and how often."""
    found = module("ledger").differences(Counter({"span a": 2, "span b": 1}), Counter({"span a": 1, "point c": 1}))
    assert found == [
        "1 x only the instrumentation: span a",
        "1 x only the instrumentation: span b",
        "1 x only the floor: point c",
    ]


def test_a_chunk_is_the_difference_between_two_lengths_and_a_stream_what_is_left(module: Module) -> None:
    """Round by round, and of the minima."""
    measure = module("measure")
    settings = measure.Settings(calls=1, chunks=(1, 11, 111, 1111))
    one, short, long, longest = (load for load in settings.loads if load.kind == "stream")
    samples = {
        "x": {one: {0: 30.0, 1: 40.0}, short: {0: 50.0, 1: 80.0}, long: {0: 350.0, 1: 280.0}, longest: {1: 1280.0}}
    }
    found = module("costs").costs(samples, settings)["x"]
    assert {name: (dict(cost.rounds), cost.minimum) for name, cost in found.items()} == {
        "stream": ({0: 28.0, 1: 36.0}, 28.0),
        "chunk, early": ({0: 2.0, 1: 4.0}, 2.0),
        "chunk": ({0: 3.0, 1: 2.0}, 2.3),
        "chunk, late": ({1: 1.0}, 1.0),
    }


def test_a_profile_is_written_and_its_longest_functions_are_printed(tmp_path: Path) -> None:
    """In the order of their own time, and nothing else is measured."""
    file = tmp_path / "calls.pstats"
    done = run("--profile", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["of", "80", "calls,", "a", "call", "(µs)", "own", "in", "all", "times"]
    own = [float(line.split()[-3]) for line in lines]
    assert (len(own), own) == (20, sorted(own, reverse=True))
    calls = {name: count for (_, _, name), (_, count, *_) in vars(Stats(str(file)))["stats"].items()}
    assert calls["_execute_chat"] == 80


def test_an_exporter_that_hangs_has_a_full_queue_behind_it_and_is_let_go_in_the_end(
    module: Module, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What ends meanwhile takes the place of what waited, and nothing is said of it."""
    hanging = module("hanging")
    batches: list[int] = []
    export = hanging._Hanging.export

    def counted(self: Any, spans: Sequence[Any]) -> Any:
        batches.append(len(spans))
        return export(self, spans)

    monkeypatch.setattr(hanging._Hanging, "export", counted)
    before = threading.active_count()
    with hanging.hanging() as sdk, hanging.silent():
        sdk.tracer_provider.get_tracer("test").start_span("one more").end()
        assert batches == [64]
    assert (batches, threading.active_count(), caplog.records) == ([64, 64], before, [])


async def test_the_growth_of_a_chunk_is_that_of_its_overhead_and_a_share_of_the_runtimes(
    module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the runtime's own chunks take more, late in a stream, is not ours. Opening a stream is no chunk."""
    flat, variants = module("flat"), module("variants")
    costs = {variants.BARE: (10, 11), variants.SDK: (12, 14), variants.SDK_TIMED: (20, 26), variants.CONTENT: (0, 99)}
    now, switched_on = 0.0, ""

    async def events(chunks: int) -> AsyncIterator[None]:
        nonlocal now
        now += 1.0
        for number in range(chunks):
            yield None
            now += costs[switched_on][number + 1 >= chunks * 9 // 10] / 1e6

    @contextmanager
    def active(name: str) -> Iterator[None]:
        nonlocal switched_on
        switched_on = name
        yield

    monkeypatch.setitem(flat.CLOCKS, "cpu", lambda: now)
    compared = [Namespace(name=name, active=partial(active, name)) for name in costs]
    found = await flat.flat(Namespace(events=events), compared, 100, "cpu")
    assert found == {
        "chunks": 100,
        "every signal": pytest.approx((14 - 12 - 1) / 10),
        "every signal, chunk timing": pytest.approx((26 - 20 - 1) / 10),
    }


def test_the_cheapest_peer_is_the_one_that_adds_least_to_the_sdk(module: Module) -> None:
    """Its total does not matter, and neither does a peer that was not measured."""
    budgets, peers, costs = module("budgets"), module("peers"), module("costs")

    def cost(*rounds: float) -> dict[str, Any]:
        return {"call": costs.Quantity(dict(enumerate(rounds)), min(rounds))}

    measured = {
        "every signal": cost(500.0, 520.0),
        "runtime alone": cost(200.0, 200.0),
        "OpenAI SDK": cost(900.0, 1000.0),
        peers.NAMES[0]: cost(1500.0, 1600.0),
        peers.NAMES[2]: cost(1300.0, 1400.0),
    }
    assert budgets.cheapest_peer(measured, "call") == peers.NAMES[2]
    rows = {row.name: row.median for row in budgets.rows(budgets.Results(measured))}
    assert rows == {"call: overhead / cheapest peer's": pytest.approx((300 / 400 + 320 / 400) / 2)}


async def test_without_the_openai_sdk_there_are_no_peers(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of theirs is imported then."""
    peers = module("peers")
    monkeypatch.setattr(peers, "installed", dict)
    assert await peers.Peers.create(bool) is None


@pytest.mark.parametrize(
    ("enforced", "absolute", "code"),
    [("always", False, 1), ("on request", False, 0), ("on request", True, 1), ("never", True, 0)],
)
def test_check_decides_the_exit_code_by_what_is_enforced(
    module: Module, enforced: str, absolute: bool, code: int
) -> None:
    """Broken budgets count always, on request, or never; kept ones do not, and nothing does without ``--check``."""
    report, row = module("report"), module("budgets").Row
    arguments = Namespace(check=True, clock="cpu", cpu_share=1000.0, absolute=absolute, allowance=0.1)
    assert report.exit_code([row("x", 1.2, 1.2, 1.0, enforced)], arguments, 1.0) == code
    assert report.exit_code([row("x", 1.0, 1.0, 1.0, enforced)], arguments, 1.0) == 0
    assert report.exit_code([row("x", 1.2, 1.2, 1.0, enforced)], Namespace(check=False), 1.0) == 0


@pytest.mark.parametrize("value", [0.5, 5.0])
def test_check_gives_no_verdict_by_the_wall_clock_where_others_have_the_cores(
    module: Module, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures that would pass prove nothing then, and neither do figures that would not."""
    arguments = Namespace(check=True, clock="wall", cpu_share=0.9, absolute=False, allowance=0.1)
    row = module("budgets").Row("x", value, value, 1.0, "always")
    assert module("report").exit_code([row], arguments, 0.8) == 3
    assert "too busy for a verdict" in capsys.readouterr().err
    assert module("report").exit_code([row], arguments, 0.9) == (value > 1)


@pytest.mark.parametrize(
    ("median", "minimum", "verdict"),
    [
        (1.5, 9.0, "kept"),
        (1.6, 0.1, "at its limit"),
        (1.7, 0.1, "BROKEN"),
    ],
)
def test_the_median_decides_whether_a_budget_is_broken_by_more_than_the_allowance(
    module: Module, median: float, minimum: float, verdict: str
) -> None:
    """A minimum, which may be a stroke of luck, excuses nothing."""
    assert module("budgets").Row("x", median, minimum, 1.5).verdict(0.1) == verdict


@pytest.mark.parametrize(
    ("many", "rows"),
    [
        (34, {"memory that a call leaves (blocks)": 0.5}),
        (33, {"memory that a call leaves (blocks)": 0.5, "memory that a call leaves (bytes)": 2.0}),
    ],
)
async def test_what_a_call_leaves_is_the_difference_of_two_marks_and_bytes_need_many_calls(
    module: Module, monkeypatch: pytest.MonkeyPatch, many: int, rows: dict[str, float]
) -> None:
    """Of 100 calls, 99 are made, each name three times; 66 before the first mark."""
    memory, budgets = module("memory"), module("budgets")
    marks = iter([(1_000, 50_000), (1_016.5, 50_066)])
    monkeypatch.setattr(memory, "_MANY", many)
    monkeypatch.setattr(memory, "_held", lambda: next(marks))
    found = await memory.growth(100)
    assert [found[name] for name in ("calls", "names", "some")] == [99, 33, 66]
    assert {row.name: row.median for row in budgets.rows(budgets.Results({}, {"memory": found}))} == rows


async def test_every_object_that_a_call_leaves_is_counted(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it can be told by nothing else."""
    memory = module("memory")
    kept: list[object] = []

    async def make(self: object, number: int) -> None:
        kept.extend(object() for _ in range(1_000))

    monkeypatch.setattr(memory.Endings, "make", make)
    assert (await memory.growth(30))["blocks_a_call"] == pytest.approx(1_000, abs=50)


def test_a_figure_without_a_budget_has_no_verdict(module: Module) -> None:
    """However large it is."""
    assert module("budgets").Row("x", 1e9, 1e9).verdict(0.0) == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--chunks", "1", "5", "5", "9"], "the numbers must ascend"),
        (["--at-once", "1", "2"], "the numbers must ascend"),
        (["--calls-for-memory", "2"], "memory needs three calls"),
    ],
)
def test_refuses_amounts_between_which_there_is_no_difference(arguments: list[str], complaint: str) -> None:
    """The cost of a chunk, for one, is a difference between two lengths."""
    done = run(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_a_ratio_to_a_floor_that_seems_free_is_null_in_the_file(module: Module) -> None:
    """JSON knows no infinity."""
    row = module("budgets").Row("x", math.inf, 2.0, 1.5, "always")
    assert module("report").plain(row, 0.1) == {
        "name": "x",
        "median": None,
        "minimum": 2.0,
        "limit": 1.5,
        "enforced": "always",
        "verdict": "BROKEN",
    }
