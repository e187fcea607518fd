"""Patch rows: apply them when their module is imported, undo them to the very objects that stood there."""

from __future__ import annotations

import copy
import importlib
import logging
import pkgutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, cast

from wrapt import BoundFunctionWrapper, FunctionWrapper, register_post_import_hook

_logger = logging.getLogger(__name__)

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]

_ABSENT: Final = object()


class _BoundWrapper(BoundFunctionWrapper):  # type: ignore[type-arg]
    """A method that is patched, copied and pickled as one that is not: by its instance, or its class, and its name."""

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        owner = getattr(self, "__self__", None)
        if owner is None or isinstance(owner, type):
            return self
        # Not by its name, under which a subclass may have another.
        return self._self_parent.__get__(copy.deepcopy(owner, memo), type(owner))

    def __reduce_ex__(self, protocol: Any) -> Any:
        owner = getattr(self, "__self__", None)
        if owner is None:
            return pkgutil.resolve_name, (f"{self.__module__}:{self.__qualname__}",)
        return getattr, (owner, self.__name__)


class _Wrapper(FunctionWrapper):  # type: ignore[type-arg]
    """What stands in a class or a module; a function of a module is copied and pickled by its name as well."""

    __bound_function_wrapper__ = _BoundWrapper

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__qualname__


@dataclass(frozen=True)
class Row:
    """One patched attribute.

    Attributes:
        module: The module that defines the target; patched when, and only if, the application imports it.
        target: ``Class.method`` inside that module, or ``submodule.function`` inside that package.
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
        owner, name = self.locate()
        if name not in vars(owner):
            raise AttributeError(f"{self.module}.{self.target.rpartition('.')[0]} has no {name} of its own")
        return owner, name, vars(owner)[name]

    def locate(self) -> tuple[Any, str]:
        """Return owner and attribute name.

        Raises:
            ImportError: The module cannot be imported.
            AttributeError: The module has no such owner.
        """
        owner_name, _, name = self.target.rpartition(".")
        module = importlib.import_module(self.module)
        return (getattr(module, owner_name) if owner_name else module), name

    def patch(self, bundle: Any) -> Patch | None:
        """Put the wrapper in the attribute's place.

        Args:
            bundle: Handed to ``build``.
        """
        owner, name, original = self.resolve()
        patch = Patch(owner, name, original)
        patch.wrapper = _Wrapper(original, self.build(bundle), enabled=cast("bool", patch.active))
        setattr(owner, name, patch.wrapper)
        return patch


@dataclass(frozen=True)
class Addition(Row):
    """An attribute that a class or a module gets where it lacks it.

    Attributes:
        module: The module that defines the owner.
        target: ``Class.attribute`` inside that module, or the ``attribute`` of the module itself.
        build: Makes the attribute (a function, a property, a class).
    """

    build: Callable[[Any], Any]

    def resolve(self) -> tuple[Any, str, Any]:
        """Return owner, attribute name and the attribute, which is ``None`` where it is still to be added."""
        owner, name = self.locate()
        return owner, name, getattr(owner, name, None)

    def is_there(self) -> bool:
        """Return whether its owner has an attribute of this name, be it by inheritance."""
        owner, name = self.locate()
        return name in vars(owner) or hasattr(owner, name)

    def patch(self, bundle: Any) -> Patch | None:
        """Add the attribute, unless it is there."""
        if self.is_there():
            return None
        owner, name = self.locate()
        patch = Patch(owner, name, _ABSENT, self.build(bundle))
        setattr(owner, name, patch.wrapper)
        return patch


@dataclass(frozen=True)
class Arrival(Row):
    """Something to do when a module has been imported. There is nothing to take back.

    Attributes:
        module: The module.
        target: What in the module it is about.
        build: Does it.
    """

    build: Callable[[Any], None]  # type: ignore[assignment]

    def patch(self, bundle: Any) -> Patch | None:
        """Do it, if the module has what it is about."""
        self.resolve()
        self.build(bundle)
        return None


@dataclass
class Patch:
    """What was put where, to be taken back.

    Attributes:
        owner: The class or module.
        name: The attribute.
        original: What stood there.
        wrapper: What was put there.
        active: Empty once it was taken back: wrapt asks with every call whether a wrapper is to act, and what has a
            truth of its own is asked in no time.
    """

    owner: Any
    name: str
    original: Any
    wrapper: Any = None
    active: list[bool] = field(default_factory=lambda: [True])

    def undo(self) -> None:
        """Put back what stood there, be it nothing."""
        # Switched off as well as taken off: bound methods that somebody keeps outlive the patch, and a wrapper that
        # another library put around ours stays where it is.
        self.active.clear()
        if self.owner.__dict__.get(self.name) is not self.wrapper:
            return
        if self.original is _ABSENT:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.original)


class Patcher:
    """Applies rows and takes them back. One instance serves a process for any number of rounds."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Row]] = {}
        self._bundle: Any = None
        self._patches: list[Patch] = []
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
                # wrapt cannot take a hook back, so one per module waits, for good, and it does what is asked by then.
                self._hooked.add(module)
                register_post_import_hook(self._hook(module), module)

    def undo(self) -> None:
        """Put the originals back, last patched first."""
        self._rows = {}
        self._bundle = None
        while self._patches:
            self._patches.pop().undo()

    def _hook(self, module: str) -> Callable[[Any], None]:
        def patch(_: Any) -> None:
            self._hooked.discard(module)  # wrapt calls it once. The module may leave, and be imported anew.
            self._patch(module)

        return patch

    def _patch_if_imported(self, module: str) -> None:
        if module in sys.modules:
            self._patch(module)

    def _patch(self, module: str) -> None:
        for row in self._rows.pop(module, ()):  # Another thread may be importing it, and patch it then.
            try:
                patch = row.patch(self._bundle)
                if patch is not None:
                    self._patches.append(patch)
            except Exception:
                _logger.debug("%s:%s is not there and stays uninstrumented", row.module, row.target, exc_info=True)
