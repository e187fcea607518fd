"""The demo, run as its readers run it."""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
from programs import EXAMPLES, environment, run

DEMO = str(EXAMPLES / "demo")

# T stands for a time, R for a range of times, S for seconds, P for a share with its bar.
TRACES = Path(__file__).with_name("demo_traces.txt").read_text(encoding="utf-8")

CHAT = 'model="gpt-4o",operation="chat",provider="openai"'
REFUSED = 'model="large",operation="chat",provider="throttled"'
OVERLOADED = 'model="large",operation="chat",provider="overloaded"'
STREAM = 'model="gpt-4o"'
COUNTS = {
    f"ai_lib_requests_total{{{CHAT}}} 24.0",
    f"ai_lib_requests_total{{{REFUSED}}} 1.0",
    f"ai_lib_request_duration_seconds_count{{{CHAT}}} 24.0",
    f"ai_lib_request_duration_seconds_count{{{REFUSED}}} 1.0",
    f'ai_lib_tokens_total{{{CHAT},type="input"}} 220.0',
    f'ai_lib_tokens_total{{{CHAT},type="output"}} 418.0',
    f'ai_lib_errors_total{{{REFUSED},stage="http.transport",type="rate_limited"}} 1.0',
    f'ai_lib_errors_total{{{OVERLOADED},stage="http.transport",type="overloaded"}} 2.0',
    f'ai_lib_errors_total{{{OVERLOADED},stage="resilience",type="circuit_open"}} 1.0',
    f"ai_lib_requests_total{{{OVERLOADED}}} 3.0",
    f"ai_lib_request_duration_seconds_count{{{OVERLOADED}}} 3.0",
    f"ai_lib_requests_in_flight{{{OVERLOADED}}} 0.0",
    'ai_lib_attempts_total{kind="initial",model="gpt-4o",provider="openai",type="ok"} 23.0',
    'ai_lib_attempts_total{kind="initial",model="large",provider="throttled",type="rate_limited"} 1.0',
    'ai_lib_attempts_total{kind="initial",model="large",provider="overloaded",type="overloaded"} 3.0',
    'ai_lib_attempts_total{kind="retry",model="large",provider="overloaded",type="overloaded"} 1.0',
    'ai_lib_attempts_total{kind="fallback",model="gpt-4o",provider="openai",type="ok"} 1.0',
    'ai_lib_retries_total{model="large",provider="overloaded",type="overloaded"} 1.0',
    'ai_lib_fallbacks_total{from="overloaded/large",to="openai/gpt-4o",type="overloaded"} 1.0',
    'ai_lib_circuit_breaker_transitions_total{executor="overloaded/large",to="open"} 1.0',
    'ai_lib_circuit_breaker_rejections_total{executor="overloaded/large"} 1.0',
    f"ai_lib_requests_in_flight{{{CHAT}}} 0.0",
    f"ai_lib_requests_in_flight{{{REFUSED}}} 0.0",
    f'ai_lib_streams_total{{{STREAM},outcome="completed",provider="openai"}} 1.0',
    f'ai_lib_streams_total{{{STREAM},outcome="abandoned",provider="openai"}} 1.0',
    f'ai_lib_stream_frames_total{{{STREAM},provider="openai",result="mapped"}} 92.0',
}


@pytest.fixture(scope="module")
def demo() -> subprocess.CompletedProcess[str]:
    """One run of the demo, from a shell that is set up for anything but it."""
    return run(
        sys.executable,
        DEMO,
        PYTHONUTF8="0",
        PYTHONIOENCODING="ascii",
        COLUMNS="120",
        OTEL_SDK_DISABLED="true",
        OTEL_INSTRUMENTATION_AILIB_STAGES="none",
        AI_PROTOCOL_DIR="/nowhere",
    )


def section(output: str, begin: str, end: str) -> str:
    """Return the lines between two that begin with given words."""
    return output.partition(f"\n{begin}")[2].partition("\n")[2].partition(f"\n{end}")[0] + "\n"


def test_it_succeeds_and_complains_of_nothing(demo: subprocess.CompletedProcess[str]) -> None:
    assert (demo.returncode, demo.stderr) == (0, "")


def test_it_says_what_it_does_as_it_goes(demo: subprocess.CompletedProcess[str]) -> None:
    progress = re.findall(r"^ *\d+\.\d s  (.*)$", demo.stdout, re.MULTILINE)
    assert [re.sub(r":\d+ ", ":PORT ", line) for line in progress] == [
        "starting the mock provider, which takes a second or two",
        "it is up at http://127.0.0.1:PORT and takes 80 ms over each answer",
        "a chat",
        "a stream, read to its end by a consumer that takes 2 ms over each event",
        "a stream, left by `break` at event 5",
        "a call to a provider that answers 429",
        "a call that an overloaded provider refuses twice, and a fallback model answers",
        "3 calls to the overloaded provider through a circuit breaker that opens at failure 2",
        "20 calls at once",
        "done",
    ]


def test_it_shows_what_is_logged(demo: subprocess.CompletedProcess[str]) -> None:
    assert re.findall(r"^ *log: (.*)$", demo.stdout, re.MULTILINE) == [
        "WARNING ai_lib.resilience: chat overloaded/large: attempt 1 failed (overloaded), the next in 0.050 s",
        "WARNING ai_lib.resilience: chat: overloaded/large failed (overloaded), openai/gpt-4o is asked instead",
        "WARNING ai_lib.resilience: The circuit breaker of overloaded/large opened",
    ]


def test_it_shows_every_trace_as_a_tree(demo: subprocess.CompletedProcess[str]) -> None:
    shown = section(demo.stdout, "TRACES", "METRICS")
    for pattern, letter in (
        (r"\([\d.]+ … [\d.]+ ms\)", "(R)"),
        (r" +[\d.]+ %.*", " P"),
        (r" +[\d.]+ ms", " T"),
        (r"chunk=[\d.]+", "chunk=S"),
        (r'│ +(?=[\w"])', "│  "),
    ):
        shown = re.sub(pattern, letter, shown)
    assert shown.strip() == TRACES.strip()


def test_durations_are_aligned(demo: subprocess.CompletedProcess[str]) -> None:
    lines = section(demo.stdout, "TRACES", "METRICS").splitlines()
    assert {line.index(" ms") for line in lines if " ms" in line} == {44}


def test_the_parts_of_a_streams_time_add_up(demo: subprocess.CompletedProcess[str]) -> None:
    streams = re.findall(r"went:.*\n((?:.* ms .*%.*\n)+)", demo.stdout)
    assert len(streams) == 2
    for stream in streams:
        *parts, (duration, share) = [
            tuple(map(float, found)) for found in re.findall(r"([\d.]+) ms +([\d.]+) %", stream)
        ]
        assert len(parts) == 5
        assert sum(milliseconds for milliseconds, _ in parts) == pytest.approx(duration, abs=0.05)
        assert sum(percent for _, percent in parts) == pytest.approx(100, abs=0.3)
        assert share == 100


def test_a_bar_is_as_long_as_its_share(demo: subprocess.CompletedProcess[str]) -> None:
    bars = re.findall(r"([\d.]+) % *([█▏▎▍▌▋▊▉]*)$", demo.stdout, re.MULTILINE)
    shares = [(float(share), len(bar)) for share, bar in bars if share != "100.0"]
    assert len(shares) == 10
    assert [length for _, length in shares] == [pytest.approx(share * 0.4, abs=1) for share, _ in shares]


def test_the_consumer_of_a_stream_gets_its_time(demo: subprocess.CompletedProcess[str]) -> None:
    (slow, _) = re.findall(r"the consumer +([\d.]+) ms", demo.stdout)
    assert float(slow) > 87 * 1.9  # 2 ms an event; a clock may be a little ahead


def test_it_shows_the_counts_as_prometheus_text(demo: subprocess.CompletedProcess[str]) -> None:
    families = {line.partition("{")[0] for line in COUNTS}
    lines = section(demo.stdout, "METRICS", "Where").splitlines()
    assert {line for line in lines if line.partition("{")[0] in families} == COUNTS


def test_it_shows_nothing_but_calls_and_no_buckets(demo: subprocess.CompletedProcess[str]) -> None:
    lines = section(demo.stdout, "METRICS", "Where").splitlines()
    names = {re.match(r"(?:# \w+ )?(\w+)", line)[1] for line in lines if line}  # type: ignore[index]
    assert {name[:7] for name in names} == {"ai_lib_", "gen_ai_"}
    assert not any("_bucket" in line for line in lines)


def test_it_ends_with_where_to_look_next(demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.stdout.rpartition("\n\n")[2] == (
        "Where to look next: README.md (install, configure, every span and metric), and the same in\n"
        "an application of your own: examples/manual (one line of code) and examples/zero_code (none).\n"
    )


def test_there_is_no_colour_in_a_pipe(demo: subprocess.CompletedProcess[str]) -> None:
    assert "\x1b" not in demo.stdout


@pytest.mark.parametrize(
    ("terminal", "variables", "shown"),
    [
        (True, {}, "\x1b[1mtext\x1b[0m"),
        (True, {"NO_COLOR": ""}, "\x1b[1mtext\x1b[0m"),
        (True, {"NO_COLOR": "1"}, "text"),
        (True, {"TERM": "dumb"}, "text"),
        (False, {}, "text"),
    ],
)
def test_colour_is_for_terminals_whose_owners_want_it(
    terminal: bool, variables: dict[str, str], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("demo_render", EXAMPLES / "demo" / "render.py")
    assert spec is not None
    assert spec.loader is not None
    render = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(render)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm", **variables}.items():
        monkeypatch.setenv(name, value)
    assert render.bold("text") == shown


def running(mark: str) -> list[str]:
    """Return the processes with a mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:  # It has just ended, or is someone else's.
            continue
    return found


@pytest.mark.parametrize(
    ("moment", "sent", "processes"),
    [("starting", signal.SIGINT, 1), ("it is up", signal.SIGINT, 2), ("it is up", signal.SIGTERM, 2)],
)
def test_a_signal_ends_it_at_once_and_the_mock_with_it(moment: str, sent: signal.Signals, processes: int) -> None:
    mark = f"DEMO_MARK={uuid4()}"
    with subprocess.Popen(
        [sys.executable, DEMO],
        env=environment(DEMO_MARK=mark.partition("=")[2]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        pipesize=4096,  # What it has to say does not fit in here, so it cannot end before the signal.
    ) as process:
        assert process.stdout is not None
        assert any(moment in line for line in process.stdout)
        assert len(running(mark)) >= processes
        process.send_signal(sent)
        _, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (128 + sent, "\nStopped.\n")
    deadline = time.monotonic() + 30
    while running(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert running(mark) == []


def test_it_ends_quietly_when_its_reader_has_had_enough() -> None:
    with subprocess.Popen(
        [sys.executable, DEMO],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (process.wait(timeout=60), process.stderr.read()) == (0, "")


def test_help_tells_what_it_does() -> None:
    done = run(sys.executable, DEMO, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python examples/demo [-h]\n\nRun ai-lib-python, instrumented, against")


def test_what_is_not_installed_is_named() -> None:
    # Without site-packages, nothing is.
    done = run(sys.executable, "-S", DEMO)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "The demo needs opentelemetry_instrumentation_ailib, ai_lib_python, opentelemetry.sdk, prometheus_client,"
        " ai_protocol_mock. In the root of the repository, install it with\n"
        "  python -m pip install '.[all]' ai-protocol-mock\n"
    )
