"""Context variables that are changed while garbage is collected: before Python 3.12 in the middle of the change."""

from __future__ import annotations

import contextvars
import gc
from typing import Any

VARIABLES: list[contextvars.ContextVar[Any]] = [contextvars.ContextVar(str(number)) for number in range(40)]
VALUES = [[number] for number in range(8)]


def change(number: int) -> None:
    """Change one of the variables, and have garbage collected by one of the allocations that it takes.

    Args:
        number: Which: of the variables, of the values and of the allocations. No other collection may come before.
    """
    variable, value = VARIABLES[number % 40], VALUES[number % 8]
    gc.set_threshold(gc.get_count()[0] + number % 9)
    gc.enable()
    variable.set(value)
    gc.disable()
    gc.set_threshold(0)
    assert variable.get() is value
    for each in VARIABLES:
        repr(each.get())
