"""Content capture: where the messages of a call go.

It is off by default. ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` and
``OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT`` govern it, and a completion hook gets the content whatever they say.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry._logs import Logger, LogRecord
from opentelemetry.context import Context
from opentelemetry.util.genai.completion_hook import CompletionHook, load_completion_hook
from opentelemetry.util.genai.types import ContentCapturingMode
from opentelemetry.util.genai.utils import gen_ai_json_dumps, get_content_capturing_mode
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.messages import Conversation

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.operation import Operation

_ON_SPANS: Final = (ContentCapturingMode.SPAN_ONLY, ContentCapturingMode.SPAN_AND_EVENT)
_ON_EVENTS: Final = (ContentCapturingMode.EVENT_ONLY, ContentCapturingMode.SPAN_AND_EVENT)


@dataclass(frozen=True)
class Content:
    """What the user chose to capture, and where it goes.

    Attributes:
        mode: On which signals messages are recorded.
        emits: Whether each call is reported in an event, with or without its messages.
        hook: What gets the messages besides.
        logger: Emits the events.
    """

    mode: ContentCapturingMode
    emits: bool
    hook: CompletionHook | None
    logger: Logger

    @classmethod
    def read(cls, *, completion_hook: CompletionHook | None, logger: Logger, emit_event: bool | None) -> Content:
        """Combine arguments with the capturing mode in the environment.

        Args:
            completion_hook: What gets the messages, from ``load_hook``.
            logger: Emits the events.
            emit_event: Whether to emit them; ``None`` leaves it to the mode.
        """
        mode = get_content_capturing_mode()
        return cls(mode, mode in _ON_EVENTS if emit_event is None else emit_event, completion_hook, logger)

    @functools.cached_property
    def captured(self) -> bool:
        """Whether messages are recorded. What a hook does with them is its own affair."""
        return self.mode is not ContentCapturingMode.NO_CONTENT

    @functools.cached_property
    def wanted(self) -> bool:
        """Whether anything needs the messages."""
        return self.captured or self.hook is not None

    def span_attributes(self, conversation: Conversation) -> dict[str, AttributeValue]:
        """Return the messages as attributes of the operation span, in JSON, where the mode wants them there.

        Args:
            conversation: What ``fitting.fitted`` returned.
        """
        return (_span_attributes(conversation) or {}) if self.mode in _ON_SPANS else {}

    def finish(
        self, operation: Operation, attributes: Mapping[str, AttributeValue], conversation: Conversation
    ) -> None:
        """Call the completion hook, then emit the event, on which the hook may have put references.

        Args:
            operation: The operation, whose span has not ended.
            attributes: Those of the span, without messages.
            conversation: What ``fitting.fitted`` returned.
        """
        record = _record(self, operation.context, attributes, conversation) if self.emits else None
        if self.hook is not None:
            _call_hook(self.hook, operation, record, conversation)
        if record is not None:
            _emit(self.logger, record)


def load_hook(given: CompletionHook | None, *, named: bool) -> CompletionHook | None:
    """Return the completion hook, or ``None`` where there is none.

    Args:
        given: The hook that the application passed.
        named: Whether ``OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK`` names one.
    """
    hook = given if given is not None else _load_hook() if named else None
    # The one that stands for none is private. Not to know it would cost the work of putting messages together.
    return None if type(hook).__name__ == "_NoOpCompletionHook" else hook


_load_hook = guarded(load_completion_hook)


def _structured(conversation: Conversation) -> dict[str, list[dict[str, Any]]]:
    directions: tuple[tuple[str, Sequence[Any]], ...] = (
        (semconv.INPUT_MESSAGES, conversation.inputs),
        (semconv.OUTPUT_MESSAGES, conversation.outputs),
        (semconv.SYSTEM_INSTRUCTIONS, conversation.system),
        (semconv.TOOL_DEFINITIONS, conversation.tools),
    )
    return {key: [asdict(item) for item in items] for key, items in directions if items}


@guarded
def _span_attributes(conversation: Conversation) -> dict[str, AttributeValue]:
    return {key: gen_ai_json_dumps(items) for key, items in _structured(conversation).items()}


@guarded
def _record(
    content: Content, context: Context, attributes: Mapping[str, AttributeValue], conversation: Conversation
) -> LogRecord:
    messages = _structured(conversation) if content.mode in _ON_EVENTS else {}
    return LogRecord(event_name=semconv.OPERATION_DETAILS, attributes={**attributes, **messages}, context=context)


@guarded
def _call_hook(
    hook: CompletionHook, operation: Operation, record: LogRecord | None, conversation: Conversation
) -> None:
    hook.on_completion(
        inputs=conversation.inputs,
        outputs=conversation.outputs,
        system_instruction=list(conversation.system),
        tool_definitions=conversation.tools or None,
        span=operation.span,
        log_record=record,
    )


@guarded
def _emit(logger: Logger, record: LogRecord) -> None:
    logger.emit(record)
