"""The documentation is true: its programs run and print what it says, and its commands work, in both languages."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import docs_blocks
from docs_blocks import ROOT, Run, blocks, exported
from promtool import promtool
from receiver import Receiver, receiver
from service import free_port

DOCS = ROOT / "docs"
CHINESE = DOCS / "zh-cn"
PAGES = sorted(DOCS.glob("*.md"))

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


# --- two languages ---


def shape(page: Path) -> list[str]:
    """Return the marks of a page that do not depend on its language: headings, rows of tables, links, items, panels."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#+ |^\|(?=.*\|$)|\]\(|^- |^\d+\. |\*\*[A-Z][^*]+ > [^*]+\*\*", prose, re.MULTILINE)


def test_every_page_is_in_both_languages_and_in_both_indexes() -> None:
    pages = {page.name for page in PAGES}
    assert {page.name for page in CHINESE.glob("*.md")} == pages
    for index in (DOCS / "README.md", CHINESE / "README.md"):
        assert pages - set(re.findall(r"\]\(([\w-]+\.md)\)", index.read_text(encoding="utf-8"))) == {"README.md"}


@each_page
def test_the_languages_have_the_same_blocks_and_the_same_shape(page: Path) -> None:
    assert blocks(CHINESE / page.name) == blocks(page)
    assert sorted(shape(CHINESE / page.name)) == sorted(shape(page))


# --- programs ---

# What differs from run to run; the delays of retries do not.
MASKS = (
    (r"\b00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\b", "TRACEPARENT"),
    (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
    (r"\b[0-9a-f]{32}\b", "TRACE"),
    (r"[\d.]+ … [\d.]+ ms", "RANGE"),
    (r" +[\d.]+ ms", " TIME"),
    (r" +[\d.]+ %.*", " SHARE"),
    (r"(?<!delay=)\b\d+\.\d{2,}\b", "NUMBER"),
)


def masked(text: str) -> str:
    for pattern, word in MASKS:
        text = re.sub(pattern, word, text)
    return text.rstrip("\n")


def is_shown(shown: str, real: str) -> bool:
    """Return whether a page shows what really came; a line with nothing but … stands for any lines."""
    lines = (r"(?:.*\n)*?.*" if line == "…" else re.escape(line) for line in masked(shown).split("\n"))
    return re.fullmatch("\n".join(lines), masked(real)) is not None


@pytest.fixture(scope="module")
def runs(mock: str) -> Iterator[dict[str, Future[Run]]]:
    """The runs of all pages, by name, two at a time, begun with the one that waits most."""
    pool = ThreadPoolExecutor(2)
    begun = sorted(PAGES, key=lambda page: page.stem != "resilience")
    yield {page.stem: pool.submit(docs_blocks.run, page, mock) for page in begun}
    pool.shutdown(cancel_futures=True)


@each_page
def test_a_pages_program_runs_and_prints_what_the_page_says(page: Path, runs: dict[str, Future[Run]]) -> None:
    done, number = runs[page.stem].result(), -1
    for block in blocks(page):
        if block.language == "python":
            number += 1
        elif block.language == "text":
            real = done.traces[number] if block.shows == "trace" else [done.printed[number]]
            assert [text for text in real if is_shown(block.source, text)], "\n".join([block.source, "is not", *real])
    assert done.errors == ""


def test_what_a_block_prints_is_shown() -> None:
    """The other way round: no program prints what its page does not show."""
    for page in PAGES:
        found = blocks(page)
        silent = [
            block
            for block, after in zip(found, [*found[1:], None], strict=True)
            if block.language == "python" and "print(" in block.source and (after is None or after[:2] != ("text", ""))
        ]
        assert silent == []


def test_the_set_up_in_code_sends_traces_and_metrics_by_otlp(runs: dict[str, Future[Run]]) -> None:
    arrived = runs["README"].result().http
    assert "chat gpt-4o" in {span.name for span in arrived.spans}
    assert arrived.last("ai_lib.requests") == [({"provider": "openai", "model": "gpt-4o", "operation": "chat"}, 1)]


def test_a_tracer_sends_its_clients_spans_to_its_endpoint_under_its_name(runs: dict[str, Future[Run]]) -> None:
    arrived = runs["tracing"].result().grpc
    (root,) = (span for span in arrived.spans if span.name == "answer a question")
    assert ("chat gpt-4o", "answer a question") in arrived.tree(root.trace_id)
    assert {span.resource["service.name"] for span in arrived.spans} == {"my-app"}


def test_the_nine_seconds_add_up(runs: dict[str, Future[Run]]) -> None:
    """Waits, delays and exchanges make up the second call's duration, on the page and in its run."""
    shown = next(block.source for block in blocks(DOCS / "resilience.md") if block.shows == "trace")
    for text in (shown, runs["resilience"].result().traces[0][-1]):
        (wait,) = re.findall(r"resilience\.wait=([\d.]+)", text)
        delays = re.findall(r"delay=([\d.]+)", text)
        exchanges = re.findall(r"ai_lib\.http\.transport +([\d.]+) ms", text)
        (duration,) = re.findall(r"^chat large +([\d.]+) ms", text)
        accounted = float(wait) + sum(map(float, delays)) + sum(map(float, exchanges)) / 1000
        assert 0.0 < float(wait) < 3.0  # One permit in two seconds, and a machine that may be busy.
        assert 0.0 <= float(duration) / 1000 - accounted < 1.0


def test_batches_of_the_size_that_is_advised_fit_what_a_receiver_takes() -> None:
    """The receiver here has gRPC's limit of 4 MiB, as a Collector has; the span is the largest that the page shows."""
    from grpc_receiver import grpc_receiver

    sizes = [
        block.source for block in blocks(DOCS / "production.md") if "kB" in block.source and block.language == "text"
    ]
    largest = max(map(int, re.findall(r"(\d+) kB", sizes[0])))
    batch = int(exported(DOCS / "production.md")["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"])
    assert batch * largest * 1000 < 4 * 1024 * 1024 < 512 * largest * 1000
    with grpc_receiver() as received:
        provider = TracerProvider()
        exporter = OTLPSpanExporter(endpoint=received.endpoint)
        provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=batch))
        for _ in range(2 * batch):
            provider.get_tracer("test").start_span("chat", attributes={"content": "x" * largest * 1000}).end()
        provider.shutdown()
    assert len(received.spans) == 2 * batch


# --- commands ---

COMMANDS = sorted(
    {
        line
        for page in PAGES
        for block in blocks(page)
        if block.language == "sh"
        for line in block.source.replace("\\\n", " ").splitlines()
        if line
    }
)


def _installs(command: str) -> None:
    (extra,) = re.findall(r"\[(\w+)\]", command)
    assert extra in (metadata.metadata("opentelemetry-instrumentation-ailib").get_all("Provides-Extra") or ())


def _shows_pages(command: str) -> None:
    _, script, *pages = command.split()
    assert (ROOT / script).samefile(docs_blocks.__file__)
    assert {ROOT / page for page in pages} <= set(PAGES)


def _checks_rules(command: str) -> None:
    arguments = shlex.split(command)[1:]
    promtool(*(ROOT / word if (ROOT / word).is_file() else word for word in arguments))


CHECKS: dict[str, Callable[[str], None]] = {
    r"export \w+=\S+": lambda _: None,  # It is in the environment of its page.
    r"python -m pip install \S+": _installs,
    r"python tests/docs_blocks\.py( docs/\S+)+": _shows_pages,
    r"promtool check rules .+": _checks_rules,
}
RUN = r"(\w+=\S+ )*opentelemetry-instrument .+ python app\.py|python -m opentelemetry_instrumentation_ailib"


@pytest.mark.parametrize("command", [line for line in COMMANDS if not re.fullmatch(RUN, line)])
def test_a_command_does_what_it_says(command: str) -> None:
    (check,) = (check for pattern, check in CHECKS.items() if re.fullmatch(pattern, command))
    check(command)


@pytest.mark.parametrize("command", [line for line in COMMANDS if re.fullmatch(RUN, line)])
def test_a_command_runs_as_it_is_printed(command: str, mock: str, tmp_path: Path) -> None:
    """``app.py`` is the example; exporters of OTLP find a receiver, that of Prometheus a port."""
    shutil.copy(ROOT / "examples" / "zero_code" / "app.py", tmp_path)
    with receiver() as received:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=tmp_path,
            env={
                **os.environ,
                "AI_BASE_URL": mock,
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()),
                # Since Python 3.12 its handler cannot be flushed at the end of a process, and says so.
                "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "logging",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    if "app.py" in command:
        assert (done.stderr, done.stdout.startswith("chat: ")) == ("", True)
        sampled = {"traces"} if "SAMPLER" in command else set()  # Which of them, chance decides.
        sent = {signal for signal in ("traces", "metrics") if f"--{signal}_exporter otlp" in command}
        assert _signals(received) - sampled == sent - sampled


def _signals(received: Receiver) -> set[str]:
    arrived = {"traces": "chat gpt-4o" in {span.name for span in received.spans}, "metrics": received.points}
    return {signal for signal, came in arrived.items() if came}
