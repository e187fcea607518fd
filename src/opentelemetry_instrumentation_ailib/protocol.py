"""The first stage, protocol.load: the only one that also happens outside of any call, when a client is created."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from opentelemetry.context import create_key, get_value, set_value
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import set_span_in_context
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import logs, naming, semconv
from opentelemetry_instrumentation_ailib.attempts import Turn, note_fallback, record_fallback
from opentelemetry_instrumentation_ailib.collected import unlocked
from opentelemetry_instrumentation_ailib.context import attach, current, detach
from opentelemetry_instrumentation_ailib.coroutines import Call, around
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.operation import current_operation
from opentelemetry_instrumentation_ailib.patching import Row, Wrapper
from opentelemetry_instrumentation_ailib.telemetry import Telemetry, elapsed, end_stage, now

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]
Target = Callable[..., Any]

_LOAD = create_key(__name__)


class _Load:
    """One manifest load. It happens inside an operation (a fallback) or outside of any (client creation)."""

    def __init__(self, telemetry: Telemetry, loader: Any, wanted: str) -> None:
        self.source: str | None = None
        self._operation = current_operation()
        telemetry = telemetry.prevailing() if self._operation is None else self._operation.telemetry
        self.telemetry = telemetry
        self._provider = naming.text(wanted.partition("/")[0]) or ""
        self._model = naming.model_name(wanted) if "/" in wanted else None
        self._stage: str | None = None
        self._turn: Turn | None = None
        if self._operation is not None:
            if loader is self._operation.loader:
                self._turn = note_fallback(self._operation, wanted, _last_error())
            else:
                self._stage = self._operation.stage  # Whatever else is loaded meanwhile moves it no further.
            self._operation.stage = semconv.PROTOCOL_LOAD
        self._began = now()
        context = self._outside = current()
        self._span = None
        if self._operation is None or self._operation.recorded:
            if self._operation is not None:  # The clock that dates may have been set since its beginning.
                self._began = self._began._replace(epoch=self._operation.began.at(self._began.seconds))
            self._span = telemetry.start_stage(semconv.PROTOCOL_LOAD, context, start_time=self._began.epoch)
        if self._span is not None:
            context = set_span_in_context(self._span, context)
        self.context = set_value(_LOAD, self, context)

    def end(self, manifest: Any, error: BaseException | None) -> None:
        if self._operation is not None and self._turn is not None:
            record_fallback(self._operation, self._turn, naming.text(getattr(manifest, "id", None)))
        attributes: dict[str, AttributeValue] = {}
        if self.source is not None or manifest is not None:
            # A manifest that neither a file nor the network brought was in the loader's cache.
            self.source = self.source or "cache"
            attributes[semconv.PROTOCOL_SOURCE] = self.source
        if self._operation is not None and self._stage is not None and error is None:
            self._operation.stage = self._stage
        if manifest is not None:
            attributes[semconv.PROTOCOL_VERSION] = naming.text(str(manifest.protocol_version)) or ""
            self._provider = naming.text(manifest.id) or ""
        seconds = elapsed(self._began.seconds)
        logs.protocol_loaded(
            self.context,
            provider=self._provider,
            source=self.source,
            version=None if manifest is None else str(manifest.protocol_version),
            seconds=seconds,
            error=error,
        )
        ended = self._began.after(seconds)
        end_stage(self._span, error=naming.failure_type(error), attributes=attributes, end_time=ended)
        labels = self.telemetry.labels.load(self._provider, self._model)
        labels[semconv.LABEL_STAGE] = semconv.PROTOCOL_LOAD
        if self._operation is not None:
            labels[semconv.LABEL_OPERATION] = self._operation.name
        self.telemetry.instruments.stage_duration.record(seconds, labels, context=self.context)
        self.context = self._outside  # Its own context refers to it.


def _last_error() -> BaseException | None:
    # What the model before failed with, the runtime tells nobody: it is found where it keeps it.
    frame: FrameType | None = sys._getframe(1)
    for _ in range(12):
        if frame is None:
            break
        if frame.f_code.co_name == "_execute_chat" and frame.f_globals.get("__name__") == "ai_lib_python.client.core":
            error = frame.f_locals.get("last_error")
            return error if isinstance(error, BaseException) else None
        frame = frame.f_back
    return None


_begin_load, _end_load = guarded(_Load), unlocked(guarded(_Load.end))


def _load(telemetry: Telemetry) -> Wrapper:
    async def run(call: Call, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
        wanted = next(iter((*args, *kwargs.values())), None)
        # load_model() calls load_provider(): one load.
        nested = get_value(_LOAD) is not None
        skip = nested or not isinstance(wanted, str) or not is_instrumentation_enabled()
        load = None if skip else _begin_load(telemetry, instance, str(wanted))
        if load is None:
            return await call.take()
        token = attach(load.context)
        try:
            manifest = await call.take()
        except BaseException as error:
            detach(token, error)
            _end_load(load, None, error)
            del load, token  # The exception may live long, and refers to this frame.
            raise
        detach(token)
        _end_load(load, manifest, None)
        return manifest

    return around(run)


def _loaded_from(source: str) -> Callable[[Telemetry], Wrapper]:
    def build(telemetry: Telemetry) -> Wrapper:
        def run(wrapped: Target, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
            load = get_value(_LOAD)
            if isinstance(load, _Load):
                load.source = source
            return wrapped(*args, **kwargs)

        return run

    return build


_MODULE = "ai_lib_python.protocol.loader"

ROWS = (
    Row(_MODULE, "ProtocolLoader.load_model", _load),
    Row(_MODULE, "ProtocolLoader.load_provider", _load),
    Row(_MODULE, "ProtocolLoader._load_file", _loaded_from("local")),
    Row(_MODULE, "ProtocolLoader._load_from_github", _loaded_from("remote")),
)
