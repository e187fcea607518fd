"""How many series a metric may have: labels whose values come from outside have so many of them and no more.

Newer SDKs have a limit of their own, on all sets of labels: what is past it loses every label. Older ones keep each set
for good. Here the first values that come are labels, and all others one more: provider, stage and type of a measurement
stay known, whatever its model is called.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final

from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import naming, semconv

Attributes = Mapping[str, AttributeValue]

MAX_PROVIDERS: Final = 100
MAX_MODELS: Final = 1_000
MAX_EXECUTORS: Final = 1_000
MAX_ERROR_TYPES: Final = 100


class Bounded:
    """Admits the first values that come, up to a number.

    Args:
        limit: How many.
    """

    # Without a lock, which a thread could ask for twice, in which the garbage collector runs. Threads that come at the
    # same moment may each admit one too many.

    __slots__ = ("_known", "_limit")

    def __init__(self, limit: int) -> None:
        self._known: set[Hashable] = set()
        self._limit = limit

    def admits(self, value: Hashable) -> bool:
        """Return whether a value is one of the first."""
        if value in self._known:
            return True
        if len(self._known) >= self._limit:
            return False
        self._known.add(value)
        return True

    def label(self, value: str) -> str:
        """Return a value that is one of the first, or ``_OTHER``."""
        return value if self.admits(value) else semconv.OTHER


class By(dict[str, Attributes]):
    """Labels with one more, by its value. They are made once for each.

    Args:
        labels: The labels.
        name: The name of the one more, of which there are few values.
    """

    __slots__ = ("_labels", "_name")

    def __init__(self, labels: Attributes, name: str) -> None:
        super().__init__()
        self._labels = labels
        self._name = name

    def __missing__(self, value: str) -> Attributes:
        labels = self[value] = {**self._labels, self._name: value}
        return labels


class Identity:
    """What the signals call an operation on one model. Its calls share it: none of it may be changed.

    Args:
        labels: What may be a label.
        operation: ``gen_ai.operation.name``.
        provider: The manifest's id.
        model: The model without its provider.
        base_url: Where the requests go; ``None`` for a fallback, since the conventions' attributes do not follow it.

    Attributes:
        provider: The manifest's id.
        model: The model without its provider.
        full_name: Both: ``openai/gpt-4o``.
        span_name: The name of the operation span.
        described: What the conventions want known of an operation from its start.
        conventions: What of that the metrics of the conventions carry.
        model_labels: ``provider`` and ``model``, as far as they may be labels.
        labels: The same with ``operation``.
        by_stage: The same with ``stage``.
        by_token: ``labels`` with ``type``, the type of tokens.
        by_token_detail: ``model_labels`` with ``type``, the type of tokens.
    """

    __slots__ = (
        "_answer",
        "_bounded",
        "by_stage",
        "by_token",
        "by_token_detail",
        "conventions",
        "described",
        "full_name",
        "labels",
        "model",
        "model_labels",
        "provider",
        "span_name",
    )

    def __init__(self, labels: Labels, operation: str, provider: str, model: str, base_url: str | None) -> None:
        self.provider, self.model = provider, model
        self.full_name = f"{provider}/{model}"
        self.span_name = f"{operation} {model}"
        self.described: Attributes = {}
        self.conventions: Attributes = {}
        if base_url is not None:
            self.described = naming.identity(operation, provider, model, base_url)
            self.conventions = labels.conventions(self.described)
        self.model_labels = labels.model(provider, model)
        self.labels: Attributes = {**self.model_labels, semconv.LABEL_OPERATION: operation}
        self.by_stage = By(self.labels, semconv.LABEL_STAGE)
        self.by_token = By(self.labels, semconv.LABEL_TYPE)
        self.by_token_detail = By(self.model_labels, semconv.LABEL_TYPE)
        self._bounded = labels
        # Replaced as one, since threads share it.
        self._answer: tuple[str | None, Attributes, By] = (None, *self._answered(self.conventions))

    @staticmethod
    def _answered(attributes: Attributes) -> tuple[Attributes, By]:
        return attributes, By(attributes, semconv.TOKEN_TYPE)

    def answered(self, model: str | None) -> tuple[Attributes, By]:
        """Return what the metrics of the conventions carry of an operation that is over: as it is, and by token type.

        Args:
            model: What model the provider says answered.
        """
        last, attributes, by_token = self._answer
        if model != last:
            more = {} if model is None else {semconv.RESPONSE_MODEL: self._bounded.answer(model)}
            attributes, by_token = self._answered({**self.conventions, **more})
            self._answer = model, attributes, by_token
        return attributes, by_token


class Labels:
    """The labels of one round of instrumentation that name providers, models, servers and error types."""

    __slots__ = ("_answers", "_errors", "_identities", "_known", "_loads", "_models", "_providers", "_turns")

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str, str | None], Identity] = {}
        self._providers = Bounded(MAX_PROVIDERS)
        self._models = Bounded(MAX_MODELS)
        self._identities = Bounded(MAX_MODELS)
        self._answers = Bounded(MAX_MODELS)
        self._loads = Bounded(MAX_MODELS)
        self._turns = Bounded(MAX_MODELS)
        self._errors = Bounded(MAX_ERROR_TYPES)

    def identity(self, operation: str, provider: str, model: str, base_url: str | None = None) -> Identity:
        """Return what the signals call an operation on a model.

        Args:
            operation: ``gen_ai.operation.name``.
            provider: The manifest's id.
            model: The model without its provider.
            base_url: Where the requests go; ``None`` for a fallback.
        """
        key = operation, provider, model, base_url
        identity = self._known.get(key)
        if identity is None:
            identity = Identity(self, *key)
            if len(self._known) < MAX_MODELS:
                self._known[key] = identity
        return identity

    def model(self, provider: str, model: str) -> dict[str, AttributeValue]:
        """Return the labels ``provider`` and ``model``.

        Args:
            provider: The manifest's id.
            model: The model without its provider.
        """
        provider = self._providers.label(provider)
        # By pair, since providers share the names of models.
        known = self._models.admits((provider, model))
        return {semconv.LABEL_PROVIDER: provider, semconv.LABEL_MODEL: model if known else semconv.OTHER}

    def turn(self, origin: str, target: str) -> dict[str, AttributeValue]:
        """Return the labels ``from`` and ``to`` of a fallback: by pair, of which there may be as many as models.

        Args:
            origin: The model that failed, with its provider.
            target: The model that is asked next, with its provider.
        """
        known = self._turns.admits((origin, target))
        return {
            semconv.LABEL_FROM: origin if known else semconv.OTHER,
            semconv.LABEL_TO: target if known else semconv.OTHER,
        }

    def load(self, provider: str, model: str | None) -> dict[str, AttributeValue]:
        """Return the labels of a manifest load. What it asks for may not exist, and takes no room from what does.

        Args:
            provider: The manifest's id, or what was asked for.
            model: The model without its provider, if one was asked for.
        """
        known = self._loads.admits((provider, model))
        asked = {semconv.LABEL_PROVIDER: provider, semconv.LABEL_MODEL: model}
        return {label: name if known else semconv.OTHER for label, name in asked.items() if name is not None}

    def conventions(self, identity: Attributes) -> Attributes:
        """Return what the metrics of the conventions carry of an operation: all of it, or no name from outside.

        Args:
            identity: What ``naming.identity`` returned.
        """
        if self._identities.admits(tuple(identity.values())):
            return identity
        provider = self._providers.label(str(identity[semconv.PROVIDER_NAME]))
        return {
            semconv.OPERATION_NAME: identity[semconv.OPERATION_NAME],
            semconv.PROVIDER_NAME: provider,
            semconv.REQUEST_MODEL: semconv.OTHER,
        }

    def answer(self, model: str) -> str:
        """Return ``gen_ai.response.model`` for the metrics: the provider may say anything.

        Args:
            model: What it said.
        """
        return self._answers.label(model)

    def error(self, kind: str) -> str:
        """Return an error type for the metrics. Exceptions of whatever class leave those that the runtime knows alone.

        Args:
            kind: What ``naming.failure_type`` returned.
        """
        return kind if kind in naming.KNOWN_TYPES else self._errors.label(kind)
