"""The loggers, the level below ``DEBUG``, and how a record gets its fields and its place in a trace."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import format_span_id, format_trace_id, get_current_span
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.context import attach, detach
from opentelemetry_instrumentation_ailib.guard import guarded

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.operation import Operation

_ROOT: Final = logging.getLogger(semconv.LOGGER)
_SILENT: Final = logging.NullHandler()
REQUEST: Final = logging.getLogger(semconv.LOGGER_REQUEST)
RESILIENCE: Final = logging.getLogger(semconv.LOGGER_RESILIENCE)
STREAM: Final = logging.getLogger(semconv.LOGGER_STREAM)
PROTOCOL: Final = logging.getLogger(semconv.LOGGER_PROTOCOL)
PIPELINE: Final = logging.getLogger(semconv.LOGGER_PIPELINE)
FRAME: Final = logging.getLogger(semconv.LOGGER_FRAME)

TRACE: Final = 5
# Put together, so that it is an object like no other: by it we know our name from the same name given by somebody else.
_TRACE_NAME: Final = "".join(("TRA", "CE"))


@guarded
def name_trace_level() -> None:
    """Name level 5 ``TRACE``, unless the level or the name is taken."""
    if logging.getLevelName(TRACE) == f"Level {TRACE}" and not isinstance(logging.getLevelName(_TRACE_NAME), int):
        logging.addLevelName(TRACE, _TRACE_NAME)


@guarded
def forget_trace_level() -> None:
    """Take the name back, if it is still the one that :func:`name_trace_level` gave."""
    if logging.getLevelName(TRACE) is _TRACE_NAME:
        # The public functions only ever add names.
        del logging._levelToName[TRACE]
        del logging._nameToLevel[_TRACE_NAME]


@guarded
def begin() -> None:
    """Have our loggers and the level for frames ready."""
    name_trace_level()
    # Where an application has not set up logging, what nobody handles would appear on its standard error.
    _ROOT.addHandler(_SILENT)


@guarded
def end() -> None:
    """Undo what ``begin`` did."""
    forget_trace_level()
    _ROOT.removeHandler(_SILENT)


def handled(logger: logging.Logger, level: int) -> bool:
    """Return whether a logger is enabled for a level, and has a handler besides the one that keeps us silent."""
    known: logging.Logger | None = logger if logger.isEnabledFor(level) else None
    while known is not None:
        if any(handler is not _SILENT for handler in known.handlers):
            return True
        known = known.parent if known.propagate else None
    return False


def identity(operation: Operation) -> dict[str, AttributeValue | None]:
    """Return the fields that say which operation a record is about; after a fallback, with the model that answers."""
    return {
        semconv.OPERATION_NAME: operation.name,
        semconv.PROVIDER_ID: operation.identity.provider,
        semconv.REQUEST_MODEL: operation.identity.model,
        semconv.REQUEST_ID: operation.attributes.get(semconv.REQUEST_ID),
    }


def title(operation: Operation) -> str:
    """Return how messages call an operation: ``chat openai/gpt-4o``."""
    return f"{operation.name} {operation.identity.full_name}"


def emit(
    logger: logging.Logger, level: int, context: Context, fields: Mapping[str, Any], message: str, *arguments: object
) -> None:
    """Log a record with its fields and the ids of a context's span, and that context current.

    ``logger.log(extra=...)`` would raise where a record factory of the application sets a field of the same name, and
    many set ``trace_id``. What a factory set stays.

    Args:
        logger: The logger, which is enabled for the level.
        level: The level.
        context: The context of the operation.
        fields: The attributes of the record; those that are ``None`` are left out.
        message: The message with its placeholders.
        *arguments: What fills them.
    """
    if not handled(logger, level):
        return  # Python itself would print it.
    place = sys._getframe(1)
    code, shown = place.f_code, tuple(map(_printable, arguments))
    span = get_current_span(context).get_span_context()
    ids = {semconv.TRACE_ID: format_trace_id(span.trace_id), semconv.SPAN_ID: format_span_id(span.span_id)}
    token = attach(context)
    try:
        record = logger.makeRecord(
            logger.name, level, code.co_filename, place.f_lineno, message, shown, None, code.co_name
        )
        for name, value in {**ids, **fields}.items():
            if value is not None:
                vars(record).setdefault(name, value)
        logger.handle(record)
    finally:
        detach(token)


def _printable(value: object) -> object:
    # Names come from outside, and a line break in one would forge a line of the log.
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(character if character.isprintable() else " " for character in value)
