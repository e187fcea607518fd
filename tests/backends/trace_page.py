"""Phoenix's page of a trace, as it says itself in the browser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from call_traces import OPERATION, Traced
from phoenix_server import stored, trace_url

TREE = """list => [...list.querySelectorAll('[role=button]')].map(row => {
    let depth = 0;
    for (let above = row.parentElement; above !== list; above = above.parentElement)
        depth += above.tagName === 'UL';
    return [depth, row.querySelector('span').textContent, row.querySelector('[aria-label=ERROR]') !== null];
})"""
TABLE = "table => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent))"

Row = tuple[int, str, bool]
"""A span: how deep it stands, its name, and whether it is marked as failed."""


@dataclass(frozen=True)
class TracePage:
    """A trace, opened.

    Attributes:
        page: The page of the browser.
    """

    page: Any

    async def open(self, endpoint: str, trace: Traced) -> None:
        """Open the page of a trace, when Phoenix has all of it, and select the call."""
        stored(endpoint, trace.spans)
        await self.page.goto(trace_url(endpoint, trace.identifier))
        await self.select(OPERATION)

    @property
    def drawer(self) -> Any:
        """The part of the page that shows the trace."""
        return self.page.get_by_test_id("dialog")

    @property
    def span(self) -> Any:
        """The part of it that shows the selected span."""
        return self.drawer.get_by_test_id("span-details")

    async def select(self, name: str) -> None:
        """Click the first span of this name, and wait until it is shown."""
        await self.drawer.get_by_test_id("trace-tree").get_by_text(name, exact=True).first.click()
        await self.header.get_by_text(name, exact=True).wait_for()

    @property
    def header(self) -> Any:
        """The line above the selected span's tabs."""
        return self.span.get_by_test_id("span-header-row")

    async def tree(self) -> list[Row]:
        """Return the spans from top to bottom."""
        rows = await self.drawer.locator("ul[data-testid=trace-tree]").evaluate(TREE)
        return [(depth, name, failed) for depth, name, failed in rows]

    async def tab(self, name: str) -> Any:
        """Open a tab of the selected span, and return its panel."""
        await self.span.get_by_role("tab", name=name).click()
        return self.span.get_by_role("tabpanel", name=name)

    async def messages(self) -> list[tuple[str, str]]:
        """Return the selected call's messages: whose, and what."""
        panel = await self.tab("Info")
        await panel.get_by_role("heading", name="assistant").wait_for()
        switch = self.page.get_by_role("radiogroup", name="Markdown Mode")
        texts = await panel.get_by_role("listitem").filter(has=switch).all_inner_texts()
        return [(lines[0], lines[-1]) for lines in (text.strip().splitlines() for text in texts)]

    async def attributes(self) -> dict[str, str]:
        """Return the selected span's attributes."""
        panel = await self.tab("Attributes")
        return await table(panel.get_by_role("table"))

    async def events(self) -> list[tuple[str, dict[str, str]]]:
        """Open every event of the selected span, and return their names and attributes."""
        panel = await self.tab("Events")
        await panel.get_by_role("heading", level=3).first.wait_for()
        found = []
        for title in await panel.locator("button[slot=trigger]").all():
            if await title.get_attribute("aria-expanded") == "false":
                await title.click()
            content = panel.locator(f"id={await title.get_attribute('aria-controls')}")
            name = await title.locator("[data-weight=heavy]").inner_text()
            found.append((name, await table(content.get_by_role("table"))))
        return found


async def table(shown: Any) -> dict[str, str]:
    """Return the rows of a table of two columns, when it is there."""
    await shown.wait_for()
    return dict(await shown.evaluate(TABLE))
