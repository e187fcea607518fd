"""Debian's Chromium, driven by playwright: what a person sees of a server on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

from servers import program

OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # It reaches this machine alone.
)


def installed() -> dict[str, Any]:
    """Return where Chromium is, and the environment in which it finds its libraries, as playwright wants to know it."""
    script = Path(program("chromium"))
    library = script.parents[1] / "lib"
    # Debian's script looks in /usr/lib alone, and what install.sh unpacks is elsewhere.
    binary = library / "chromium" / "chromium"
    folders = os.pathsep.join(map(str, library.glob("*-linux-gnu")))
    return {
        "executable_path": binary if binary.exists() else script,
        "env": {**os.environ, "LD_LIBRARY_PATH": folders},
    }


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Any]:
    """Start Chromium, and yield playwright's context: all its pages share what they loaded once."""
    # Not installed where types are checked.
    playwright: Any = import_module("playwright.async_api")
    async with (
        playwright.async_playwright() as api,
        await api.chromium.launch(**installed(), args=OPTIONS) as chromium,
        await chromium.new_context(timezone_id="UTC") as context,
    ):
        context.set_default_timeout(60_000)
        await context.add_init_script("localStorage.setItem('arize-phoenix-theme', 'light')")
        yield context


@contextlib.asynccontextmanager
async def page(context: Any, width: int, height: int) -> AsyncIterator[Any]:
    """Open an empty page of this many pixels, and close it in the end."""
    async with await context.new_page() as opened:
        await opened.set_viewport_size({"width": width, "height": height})
        yield opened
