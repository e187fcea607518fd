"""The range of the instrumented library that this distribution supports."""

_instruments: tuple[str, ...] = ("ai-lib-python >= 1.0, < 2",)
