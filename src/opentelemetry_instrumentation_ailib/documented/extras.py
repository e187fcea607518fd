"""What is installed besides the package's own requirements, and what to say where it is not."""

from __future__ import annotations

from typing import Final

_DISTRIBUTION: Final = "opentelemetry-instrumentation-ailib"


def missing(what: str, extra: str) -> ImportError:
    """Return the error for something that was asked for and needs an extra."""
    return ImportError(f"{what} needs the extra {extra!r}: pip install '{_DISTRIBUTION}[{extra}]'")
