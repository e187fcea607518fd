"""What a type checker sees of the installed package. This file is checked, not run."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Span
from typing_extensions import assert_type

from opentelemetry_instrumentation_ailib import AiLibInstrumentor, StreamSummary, __version__

assert_type(__version__, str)
