"""What a person sees in a real browser: Phoenix's page of a trace, and shipped panels on Prometheus' graph page."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import pytest_asyncio
from browser import browser, page
from call_traces import ANSWER, ENVIRONMENT, QUESTION, USAGE, Traced, retried, streamed
from expected import CALLS, EACH_ROUND
from graph_page import GraphPage, drawn_and_counted
from prometheus import Backend
from queries import panels
from trace_page import Row, TracePage

pytest_plugins = ["shared_servers"]
pytestmark = pytest.mark.asyncio(loop_scope="module")

OURS = ("ai_lib.", "gen_ai.", "server.")

Shown = tuple[TracePage, Traced]
Panel = tuple[GraphPage, dict[str, float]]


def series(**labels: str) -> str:
    """Return what Prometheus calls a series."""
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


STREAMS = EACH_ROUND["ai_lib_streams_total"][1]
ENDINGS: Counter[str] = sum((Counter({outcome: int(count)}) for (_, outcome), count in STREAMS.items()), Counter())

PANELS: dict[str, dict[str, float]] = {
    "overview/Calls by model/A": {
        series(operation="chat", provider=provider, model=model): count for (provider, model), count in CALLS.items()
    },
    "streaming/Endings/A": {series(outcome=outcome): count for outcome, count in ENDINGS.items()},
}
"""By panel: its series, and what a round of the application adds to each."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Any]:
    """Start the browser."""
    async with browser() as context:
        yield context


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the file for a picture of what a test has seen, in ``$BACKENDS_PICTURES`` if that is set."""
    folder = Path(os.environ.get("BACKENDS_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{request.node.name.replace('/', '.')}.png"


# --- Phoenix ---


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traces(chromium: Any, phoenix: dict[str, str]) -> AsyncIterator[dict[str, Shown]]:
    """Make calls, and open the pages of their traces."""
    with patch.dict(os.environ, ENVIRONMENT):
        made = {call.__name__: await call(phoenix["http"]) for call in (streamed, retried)}
    async with page(chromium, 1440, 1160) as first, page(chromium, 1440, 1160) as second:
        shown = dict(zip(made, (TracePage(first), TracePage(second)), strict=True))
        for name, opened in shown.items():
            await opened.open(phoenix["http"], made[name])
        yield {name: (opened, made[name]) for name, opened in shown.items()}


@pytest_asyncio.fixture(loop_scope="module")
async def trace(request: pytest.FixtureRequest, traces: dict[str, Shown], pictures: Path) -> AsyncIterator[Shown]:
    """The page of a trace, of which a picture is taken when the test has ended, however it did."""
    opened, sent = traces[request.param]
    await opened.page.bring_to_front()
    yield opened, sent
    await opened.drawer.screenshot(path=pictures)


def of(*names: str) -> pytest.MarkDecorator:
    """Let a test see the traces of these calls."""
    return pytest.mark.parametrize("trace", names, indirect=True)


def tree(spans: list[Any]) -> list[Row]:
    """Return the spans of a trace as Phoenix is to show them."""
    # Of two that begin in the same microsecond, Phoenix puts the one that ended later first.
    ordered = spans[::-1]
    ordered.sort(key=lambda span: span.start_time // 1000)

    def below(parent: int | None, depth: int) -> list[Row]:
        rows: list[Row] = []
        for span in ordered:
            if (span.parent and span.parent.span_id) == parent:
                rows += [(depth, span.name, not span.status.is_ok), *below(span.context.span_id, depth + 1)]
        return rows

    return below(None, 0)


def flat(attributes: Any) -> dict[str, Any]:
    """Return attributes as Phoenix is to show them: each element of a list has a row."""
    rows: dict[str, Any] = {}
    for key, value in attributes.items():
        rows |= {f"{key}.{n}": item for n, item in enumerate(value)} if isinstance(value, tuple) else {key: value}
    return rows


def read(shown: dict[str, str], sent: dict[str, Any]) -> dict[str, Any]:
    """Return what is shown, its numbers and truth values as such."""
    return {key: text if isinstance(sent.get(key, ""), str) else json.loads(text) for key, text in shown.items()}


@of("streamed", "retried")
async def test_the_tree_is_that_of_the_spans_and_failed_ones_are_marked(trace: Shown) -> None:
    opened, sent = trace
    assert await opened.tree() == tree(sent.spans)


@of("streamed", "retried")
async def test_a_call_is_one_of_a_model_with_its_status_and_its_tokens(trace: Shown) -> None:
    opened, sent = trace
    status = sent.operation.status.status_code.name.capitalize()
    for text in ("llm", status, str(USAGE["total_tokens"])):
        await opened.header.get_by_text(text, exact=True).wait_for()


@of("streamed", "retried")
async def test_every_attribute_of_a_call_is_shown_with_its_value(trace: Shown) -> None:
    opened, sent = trace
    expected = flat(sent.operation.attributes)
    shown = read(await opened.attributes(), expected)
    assert {key: value for key, value in shown.items() if key.startswith(OURS)} == expected


@of("streamed", "retried")
async def test_question_and_answer_are_shown(trace: Shown) -> None:
    opened, _ = trace
    assert await opened.messages() == [("user", QUESTION), ("assistant", ANSWER)]


@of("retried")
async def test_every_retry_is_an_event_with_its_delay_and_reason(trace: Shown) -> None:
    opened, sent = trace
    expected = [(event.name, dict(event.attributes)) for event in sent.operation.events]
    shown = await opened.events()
    found = [(name, read(table, row)) for (name, table), (_, row) in zip(shown, expected, strict=True)]
    assert found == expected
    assert [row["error.type"] for _, row in found] == ["overloaded", "rate_limited"]


# --- Prometheus ---


@pytest_asyncio.fixture(loop_scope="module", params=PANELS)
async def panel(
    request: pytest.FixtureRequest, chromium: Any, backend: Backend, pictures: Path
) -> AsyncIterator[Panel]:
    """The graph page of a shipped panel's query, of which a picture is taken when the test has ended."""
    (query,) = (query for query in panels() if query.title == request.param)
    async with page(chromium, 1200, 1400) as tab:
        opened = GraphPage(tab)
        await opened.open(drawn_and_counted(backend.prometheus.url, query.expression, backend.at), 2)
        yield opened, PANELS[request.param]
        await tab.screenshot(path=pictures, full_page=True)


async def test_each_series_of_a_panel_is_drawn_with_its_labels(panel: Panel) -> None:
    opened, expected = panel
    legend = await opened.legend()
    assert legend.keys() == expected.keys()
    assert sorted(await opened.drawn()) == sorted(legend.values())
    assert await opened.complaints() == []


async def test_the_table_of_a_panel_counts_what_the_application_did(panel: Panel) -> None:
    opened, expected = panel
    counted = await opened.counted()
    # Shares are exact however the server extrapolates.
    shares = {name: value / sum(counted.values()) for name, value in counted.items()}
    assert shares == pytest.approx({name: value / sum(expected.values()) for name, value in expected.items()})
    assert await opened.complaints() == []
