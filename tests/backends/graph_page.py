"""The graph page of Debian's Prometheus, as it says itself in the browser."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

GRAPH, CONSOLE = 0, 1
"""Its tabs: the second has a table."""


def graphs(url: str, *shown: dict[str, Any]) -> str:
    """Return the address of a page with graphs, each given by the names that the page has for its fields."""
    fields = {f"g{number}.{name}": value for number, graph in enumerate(shown) for name, value in graph.items()}
    return f"{url}/graph?{urlencode(fields)}"


def drawn_and_counted(url: str, expression: str, at: float) -> str:
    """Return the address of a page with an expression twice: drawn over two minutes around a moment, and its table."""
    moment = datetime.fromtimestamp(at, timezone.utc)
    # The page knows ends by the minute.
    end = moment + timedelta(minutes=1)
    drawn = {"expr": expression, "tab": GRAPH, "stacked": 1, "range_input": "2m", "step_input": 1}
    counted = {"expr": expression, "tab": CONSOLE, "moment_input": f"{moment:%Y-%m-%d %H:%M:%S}"}
    return graphs(url, {**drawn, "end_input": f"{end:%Y-%m-%d %H:%M}"}, counted)


LEGEND = """lines => lines.map(line => [
    line.querySelector('.label').textContent,
    getComputedStyle(line.querySelector('.swatch')).backgroundColor,
])"""
AREAS = "paths => paths.filter(path => path.getBBox().height > 0).map(path => getComputedStyle(path).fill)"


@dataclass(frozen=True)
class GraphPage:
    """Graphs, opened.

    Attributes:
        page: The page of the browser.
    """

    page: Any

    async def open(self, address: str, count: int) -> None:
        """Open an address, and wait until this many queries are answered."""
        await self.page.goto(address)
        await self.page.get_by_text("Total time series").nth(count - 1).wait_for()

    async def legend(self) -> dict[str, str]:
        """Return the labels below what is drawn, each with its colour."""
        return dict(await self.page.locator(".legend .line:visible").evaluate_all(LEGEND))

    async def drawn(self) -> list[str]:
        """Return the colour of each area that is drawn."""
        colours: list[str] = await self.page.locator(".graph svg > path:visible").evaluate_all(AREAS)
        return colours

    async def counted(self) -> dict[str, float]:
        """Return the table: a value for each series."""
        rows = await self.page.locator(".console_table:visible tbody tr").all()
        cells = [await row.locator("td").all_inner_texts() for row in rows]
        return {series: float(value) for series, value in cells}

    async def complaints(self) -> list[str]:
        """Return what the page complains about."""
        alerts: list[str] = await self.page.locator(".alert:visible").all_inner_texts()
        return alerts
