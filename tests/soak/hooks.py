"""Hooks of the application's, which raise now and then."""

from __future__ import annotations

from typing import Any, Final

from books import Books
from tally import Tally

_RAISES: Final = 7
"""One call of a hook in so many raises."""


class HookError(Exception):
    """What a hook raises."""


class Hooks:
    """The hooks of all rounds of instrumentation."""

    def __init__(self) -> None:
        self._called = {"request": Tally(), "response": Tally(), "completion": Tally()}

    def arguments(self, *, completion: bool) -> dict[str, Any]:
        """Return the arguments for ``instrument()``.

        Args:
            completion: Whether somebody wants the messages.
        """
        return {
            "request_hook": lambda span, request: self._call("request"),
            "response_hook": lambda span, response: self._call("response"),
            "completion_hook": self if completion else None,
        }

    def on_completion(self, **_: Any) -> None:
        """Get the messages of a call."""
        self._call("completion")

    def _call(self, hook: str) -> None:
        if self._called[hook].step() % _RAISES == 0:
            raise HookError(hook)

    def counts(self) -> dict[str, int]:
        """Return how often each was called, and how often one of them raised."""
        counts = {hook: called.value for hook, called in self._called.items()}
        return {**counts, "raised": sum(-(-called // _RAISES) for called in counts.values())}

    def differences(self, books: Books, swallowed: int) -> list[str]:
        """Return which of them was not called once for each call that it is to hear of, and whether one was heard.

        Args:
            books: What the application did.
            swallowed: How many exceptions of theirs were kept from it.
        """
        counts = self.counts()
        calls = books.total("ai_lib.requests")
        # A stream that fails has a summary, where another call has no answer.
        summaries = sum(books.counts["ai_lib.streams", (outcome,)] for outcome in ("error", "cancelled"))
        answers = calls - books.total("ai_lib.errors") + summaries
        return [
            f"hooks, {what}: {times} expected, {counts[what]} counted"
            for what, times in (("request", calls), ("response", answers), ("raised", swallowed))
            if counts[what] != times
        ]
