"""Patch rows: apply them when their module is imported, undo them to the very objects that stood there."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from wrapt import FunctionWrapper, register_post_import_hook

_logger = logging.getLogger(__name__)

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]


@dataclass(frozen=True)
class Row:
    """One patched attribute.

    Attributes:
        module: The module that defines the target; patched when, and only if, the application imports it.
        target: ``Class.method`` inside that module.
        build: Makes the wrapper (in wrapt's signature) from the bundle that ``instrument()`` assembled.
    """

    module: str
    target: str
    build: Callable[[Any], Wrapper]

    def resolve(self) -> tuple[Any, str, Any]:
        """Return owner, attribute name and the attribute as its owner's ``__dict__`` holds it.

        Raises:
            ImportError: The module cannot be imported.
            AttributeError: The module has no such target.
        """
        owner_name, name = self.target.rsplit(".", 1)
        owner = getattr(importlib.import_module(self.module), owner_name)
        if name not in vars(owner):
            raise AttributeError(f"{self.module}.{owner_name} has no {name} of its own")
        return owner, name, vars(owner)[name]


@dataclass
class _Patch:
    owner: Any
    name: str
    original: Any
    wrapper: Any = None
    active: bool = True

    def is_active(self) -> bool:
        return self.active

    def undo(self) -> None:
        # Switched off as well as taken off: bound methods that somebody keeps outlive the patch, and a wrapper that
        # another library put around ours stays where it is.
        self.active = False
        if self.owner.__dict__.get(self.name) is self.wrapper:
            setattr(self.owner, self.name, self.original)


class Patcher:
    """Applies rows and takes them back. One instance serves a process for any number of rounds."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Row]] = {}
        self._bundle: Any = None
        self._patches: list[_Patch] = []
        self._hooked: set[str] = set()

    def apply(self, rows: Iterable[Row], bundle: Any) -> None:
        """Patch the targets of modules that are imported, and the others when they get imported.

        Args:
            rows: What to patch.
            bundle: Handed to each row's ``build``.
        """
        self._bundle = bundle
        for row in rows:
            self._rows.setdefault(row.module, []).append(row)
        for module in list(self._rows):
            if module in self._hooked:
                self._patch_if_imported(module)
            else:
                # wrapt cannot take a hook back, so there is one per module for good, and it does what is asked now.
                self._hooked.add(module)
                register_post_import_hook(self._hook(module), module)

    def undo(self) -> None:
        """Put the originals back, last patched first."""
        self._rows = {}
        self._bundle = None
        while self._patches:
            self._patches.pop().undo()

    def _hook(self, module: str) -> Callable[[Any], None]:
        return lambda _: self._patch(module)

    def _patch_if_imported(self, module: str) -> None:
        if module in sys.modules:
            self._patch(module)

    def _patch(self, module: str) -> None:
        for row in self._rows.get(module, ()):
            try:
                owner, name, original = row.resolve()
                patch = _Patch(owner, name, original)
                patch.wrapper = FunctionWrapper(original, row.build(self._bundle), enabled=patch.is_active)
                setattr(owner, name, patch.wrapper)
                self._patches.append(patch)
            except Exception:
                _logger.debug("%s:%s is not there and stays uninstrumented", row.module, row.target, exc_info=True)
