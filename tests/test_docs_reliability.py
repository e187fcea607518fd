"""The page on reliability is true: its bounds are those of the code, and the tests that it names exist."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import opentelemetry_instrumentation_ailib as package
from conftest import ROOT

PAGES = [ROOT / "docs" / "reliability.md", ROOT / "docs" / "zh-cn" / "reliability.md"]
BOUND = re.compile(r"_?MAX_.+|.+_CHARACTERS")
AMOUNT = re.compile(r"(?P<base>[\d,]+)(?:\^(?P<power>\d+))?(?P<less> - 1)?")

each_page = pytest.mark.parametrize("page", PAGES, ids=("en", "zh-cn"))


def amount(text: str) -> int:
    """Return the number in a cell: ``1,024 characters`` is 1024, ``2^63 - 1`` one less than that power of two."""
    found = AMOUNT.search(text)
    assert found is not None, text
    number: int = int(found["base"].replace(",", "")) ** int(found["power"] or 1)
    return number - 1 if found["less"] else number


def bounds(page: Path) -> dict[str, int]:
    """Return the bounds that a page tells, by the constant."""
    rows = re.findall(r"^\|[^|]+\| ([^|]+) \| `([\w.]+\.\w+)` \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {constant: amount(text) for text, constant in rows}


def value(constant: str) -> object:
    """Return a constant by its name within the package."""
    module, _, name = constant.rpartition(".")
    return getattr(importlib.import_module(f"{package.__name__}.{module}"), name)


@each_page
def test_the_bounds_are_those_of_the_code(page: Path) -> None:
    told = bounds(page)
    assert told == {constant: value(constant) for constant in told}


@each_page
def test_no_bound_of_the_code_is_left_out(page: Path) -> None:
    names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    there = {
        (name, number)
        for module in modules
        for name, number in vars(module).items()
        if isinstance(number, int) and BOUND.fullmatch(name)
    }
    assert there - {(constant.rpartition(".")[2], number) for constant, number in bounds(page).items()} == set()


@each_page
def test_every_test_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"`(tests/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert len(named) > 20
