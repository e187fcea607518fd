"""Queries, written in terms of the instruments. A label that a metric does not have is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from opentelemetry_instrumentation_ailib import semconv

from .catalogue import HISTOGRAM, METRICS, Metric

# Labels that the scrape adds.
JOB: Final = "job"
INSTANCE: Final = "instance"
_SCRAPE: Final = (JOB, INSTANCE)


@dataclass(frozen=True)
class Matcher:
    """A condition on a label.

    Attributes:
        label: The label's name.
        test: The operator and the value, such as ``="ok"``.
    """

    label: str
    test: str


def equal(label: str, value: str) -> Matcher:
    """Match series whose label has the value."""
    return Matcher(label, f'="{value}"')


def one_of(label: str, *values: str) -> Matcher:
    """Match series whose label has one of the values."""
    return Matcher(label, f'{"=~" if len(values) > 1 else "="}"{"|".join(values)}"')


def none_of(label: str, *values: str) -> Matcher:
    """Match series whose label has none of the values."""
    return Matcher(label, f'{"!~" if len(values) > 1 else "!="}"{"|".join(values)}"')


FAILED_CALLS: Final = (none_of(semconv.LABEL_TYPE, semconv.CANCELLED),)
"""Errors that are not the caller's own doing."""

FAILED_ATTEMPTS: Final = (none_of(semconv.LABEL_TYPE, semconv.OK, semconv.CANCELLED),)
"""HTTP exchanges that neither succeeded nor were cancelled."""


@dataclass(frozen=True)
class Queries:
    """Builds queries that share a window and filters.

    Attributes:
        window: The range of rates and increases, such as ``5m``.
        filters: By label, what it has to match in every metric that has the label.
    """

    window: str
    filters: Mapping[str, str] = field(default_factory=dict)

    def select(self, instrument: str, *where: Matcher, suffix: str = "", span: str = "") -> str:
        """Return a selector.

        Args:
            instrument: The instrument's name.
            where: Conditions on its labels.
            suffix: For a histogram, which of its series: ``_bucket``, ``_sum`` or ``_count``.
            span: What follows the braces: a range, an offset.
        """
        metric = METRICS[instrument]
        series = next(name for name in metric.series if name.endswith(suffix)) if suffix else metric.series[0]
        filters = [Matcher(label, f'=~"{value}"') for label, value in self.filters.items() if _has(metric, label)]
        for matcher in where:
            _check(metric, matcher.label)
        conditions = ", ".join(matcher.label + matcher.test for matcher in (*filters, *where))
        return series + (f"{{{conditions}}}" if conditions else "") + span

    def gauge(self, instrument: str, *by: str, where: tuple[Matcher, ...] = (), function: str = "sum") -> str:
        """Return a gauge's value, summed (or otherwise aggregated) by labels."""
        return _aggregate(function, instrument, by, self.select(instrument, *where))

    def rate(
        self, instrument: str, *by: str, where: tuple[Matcher, ...] = (), suffix: str = "", offset: str = ""
    ) -> str:
        """Return a counter's rate a second, summed by labels."""
        span = f"[{self.window}]" + (f" offset {offset}" if offset else "")
        return _aggregate("sum", instrument, by, f"rate({self.select(instrument, *where, suffix=suffix, span=span)})")

    def increase(self, instrument: str, *by: str, where: tuple[Matcher, ...] = (), suffix: str = "") -> str:
        """Return how much a counter grew in the window, summed by labels."""
        selector = self.select(instrument, *where, suffix=suffix, span=f"[{self.window}]")
        return _aggregate("sum", instrument, by, f"increase({selector})")

    def quantile(self, quantile: float, instrument: str, *by: str, where: tuple[Matcher, ...] = ()) -> str:
        """Return a quantile of a histogram, by labels."""
        selector = self.select(instrument, *where, suffix="_bucket", span=f"[{self.window}]")
        return f"histogram_quantile({quantile}, {_aggregate('sum', instrument, ('le', *by), f'rate({selector})')})"

    def worst(self, instrument: str, label: str, values: tuple[str, ...], *by: str) -> str:
        """Return the position in ``values`` of the last one that a gauge of states is 1 for, by labels."""
        each = (f"{n} * {self.select(instrument, equal(label, value))}" for n, value in enumerate(values))
        return _aggregate("max", instrument, by, " or ".join(each))

    def overflowed(self) -> str:
        """Return how many series, by job, hold what was beyond the SDK's limit of attribute sets."""
        job = f', {JOB}=~"{self.filters[JOB]}"' if JOB in self.filters else ""
        return f'count by ({JOB}) ({{__name__=~"ai_lib_.+|gen_ai_client_.+", otel_metric_overflow="true"{job}}})'

    def processes(self) -> str:
        """Return how many processes report, by job."""
        return f"count by ({JOB}) ({self.gauge(semconv.REQUESTS_IN_FLIGHT, JOB, INSTANCE, function='group')})"

    def mean(self, instrument: str, *by: str, where: tuple[Matcher, ...] = ()) -> str:
        """Return the mean of what a histogram recorded, by labels."""
        return ratio(
            self.rate(instrument, *by, where=where, suffix="_sum"),
            self.rate(instrument, *by, where=where, suffix="_count"),
        )


def ratio(part: str, whole: str) -> str:
    """Return a query for a part of a whole, both aggregated by the same labels."""
    return f"{part}\n/\n{whole}"


def share(part: str, whole: str) -> str:
    """Return the same, and 0 rather than nothing where there is a whole and no part of it yet."""
    return f"({part} or 0 * {whole})\n/\n{whole}"


def _aggregate(function: str, instrument: str, by: tuple[str, ...], inner: str) -> str:
    for label in by:
        _check(METRICS[instrument], label)
    return f"{function} by ({', '.join(by)}) ({inner})" if by else f"{function}({inner})"


def _has(metric: Metric, label: str) -> bool:
    return label in metric.labels or label in _SCRAPE or (label == "le" and metric.kind == HISTOGRAM)


def _check(metric: Metric, label: str) -> None:
    if not _has(metric, label):
        raise ValueError(f"{metric.name} has no label {label}: {', '.join(metric.labels)}")
