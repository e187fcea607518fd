"""The documentation is true: its programs run and print what it says, its commands, queries, names and links are right."""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path

import pytest

import docs_blocks
from docs_blocks import ROOT, Run, blocks

sys.path.append(str(ROOT))


DOCS = ROOT / "docs"
CHINESE = DOCS / "zh-cn"
PAGES = sorted(DOCS.glob("*.md"))
ALL = [*PAGES, *sorted(CHINESE.glob("*.md"))]
LINKING = [*map(ROOT.joinpath, ("README.md", "CONTRIBUTING.md")), *DOCS.rglob("*.md"), *ROOT.glob("*/*/README.md")]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=name)
each_text = pytest.mark.parametrize("page", ALL, ids=name)


def written(page: Path) -> str:
    return page.read_text(encoding="utf-8")


# --- two languages ---


def shape(page: Path) -> list[str]:
    """Return the marks of a page that do not depend on its language: headings, rows of tables, links, blocks."""
    prose = re.sub(r"^```.*?^```$", "", written(page), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#+ |^\|(?=.*\|$)|\]\(|^- |^\d+\. |\*\*[A-Z][^*]+ > [^*]+\*\*", prose, re.MULTILINE)


def test_every_page_is_in_both_languages_and_in_both_indexes() -> None:
    pages = {page.name for page in PAGES}
    assert {page.name for page in CHINESE.glob("*.md")} == pages
    for index in (DOCS / "README.md", CHINESE / "README.md"):
        assert pages - set(re.findall(r"\]\(([\w-]+\.md)\)", written(index))) == {"README.md"}


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


@functools.lru_cache
def run(page: Path) -> Run:
    return docs_blocks.run(page)


@each_page
def test_a_pages_program_runs_and_prints_what_the_page_says(page: Path) -> None:
    found = [block for block in blocks(page) if block.language in ("python", "text")]
    done = run(page) if any(block.language == "python" for block in found) else None
    number = -1
    for block in found:
        if block.language == "python":
            number += 1
            continue
        assert done is not None
        real = done.traces[number] if block.shows == "trace" else [done.printed[number]]
        assert [text for text in real if is_shown(block.source, text)], "\n".join([block.source, "is not", *real])
    assert done is None or done.errors == ""


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


def test_the_set_up_in_code_sends_traces_and_metrics_by_otlp() -> None:
    arrived = run(DOCS / "README.md").http
    assert "chat gpt-4o" in {span.name for span in arrived.spans}
    assert arrived.last("ai_lib.requests") == [({"provider": "openai", "model": "gpt-4o", "operation": "chat"}, 1)]


def test_the_tracer_sends_its_clients_spans_to_its_endpoint_under_its_name() -> None:
    arrived = run(DOCS / "tracing.md").grpc
    (root,) = (span for span in arrived.spans if span.name == "answer a question")
    assert ("chat gpt-4o", "answer a question") in arrived.tree(root.trace_id)
    assert {span.resource["service.name"] for span in arrived.spans} == {"my-app"}


def test_the_nine_seconds_add_up() -> None:
    """Waits, delays and exchanges make up the second call's duration, as its page reckons."""
    call = next(block.source for block in blocks(DOCS / "resilience.md") if block.shows == "trace")
    real = next(text for text in run(DOCS / "resilience.md").traces[0] if "resilience.wait=0.0" not in text[:800])
    for text in (call, real):
        (wait,) = re.findall(r"resilience\.wait=([\d.]+)", text)
        delays = re.findall(r"delay=([\d.]+)", text)
        exchanges = re.findall(r"ai_lib\.http\.transport +([\d.]+) ms", text)
        (duration,) = re.findall(r"^chat large +([\d.]+) ms", text)
        accounted = float(wait) + sum(map(float, delays)) + sum(map(float, exchanges)) / 1000
        assert 0 <= float(duration) / 1000 - accounted < 0.5
