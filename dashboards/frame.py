"""What every dashboard has around its panels: variables, links, annotations, rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableHide,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from opentelemetry_instrumentation_ailib import semconv

from . import traces
from .catalogue import METRICS, label_name
from .panels import PROMETHEUS, Panel
from .promql import JOB, Queries

TAG: Final = "ai-lib"
_FIRING: Final = 'ALERTS{alertname=~"AiLib.+", alertstate="firing"}'

CALL_VARIABLES: Final = (JOB, semconv.LABEL_PROVIDER, semconv.LABEL_MODEL, semconv.LABEL_OPERATION)
"""What calls can be told apart by."""

# By variable: where its values come from, and the variables that narrow them down. A model whose calls all end at a
# fallback is known from its attempts and from what is in flight alone.
_CALLS: Final = (semconv.REQUESTS, semconv.REQUESTS_IN_FLIGHT, semconv.ATTEMPTS)
_COMPONENTS: Final = (semconv.CIRCUIT_BREAKER_STATE, semconv.RATE_LIMITER_AVAILABLE, semconv.BACKPRESSURE_IN_FLIGHT)
_VARIABLES: Final = {
    JOB: (_CALLS, ()),
    semconv.LABEL_PROVIDER: (_CALLS, (JOB,)),
    semconv.LABEL_MODEL: (_CALLS, (JOB, semconv.LABEL_PROVIDER)),
    semconv.LABEL_OPERATION: (_CALLS[:2], (JOB, semconv.LABEL_PROVIDER, semconv.LABEL_MODEL)),
    semconv.LABEL_EXECUTOR: (_COMPONENTS, (JOB,)),
}
# Labels of the conventions' metrics that have the values of a variable. Their providers have names of their own, so
# there a provider is chosen by its models: `All` of them has to mean those of the list.
_ALIASES: Final = {
    semconv.LABEL_MODEL: label_name(semconv.REQUEST_MODEL),
    semconv.LABEL_OPERATION: label_name(semconv.OPERATION_NAME),
}
_LISTED: Final = (semconv.LABEL_MODEL,)


@dataclass(frozen=True)
class Dashboard:
    """A dashboard.

    Attributes:
        name: The name of its file.
        title: Its title.
        about: What it is for.
        variables: The labels that it can be narrowed down by.
        rows: Its rows: a title and panels each.
    """

    name: str
    title: str
    about: str
    variables: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Panel]]]

    def json(self) -> str:
        """Return what Grafana imports."""
        builder = (
            dashboard.Dashboard(self.title)
            .uid(f"ai-lib-{self.name.replace('_', '-')}")
            .description(self.about)
            .tags([TAG, "gen-ai", "opentelemetry"])
            .editable()
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .time("now-1h", "now")
            .timezone("browser")
            .refresh("30s")
            .links([_siblings(), _traces()])
            .annotation(_alerts())
            .variables([*_sources(), *map(_variable, self.variables)])
        )
        number = 0
        for title, panels in self.rows:
            number += 1
            builder.with_row(dashboard.Row(title).id(number))
            for panel in panels:
                number += 1
                builder.with_panel(panel.id(number))
        plain = json.loads(json.dumps(builder.build(), cls=JSONEncoder), object_hook=_without_defaults)
        return json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def queries(variables: Sequence[str], window: str = "$__rate_interval") -> Queries:
    """Return what builds the queries of a dashboard with these variables."""
    filters = {variable: f"${variable}" for variable in variables}
    aliases = {_ALIASES[variable]: f"${variable}" for variable in variables if variable in _ALIASES}
    return Queries(window, {**filters, **aliases})


def _without_defaults(built: dict[str, Any]) -> dict[str, Any]:
    # The SDK hides links and annotations in a menu, and writes what belongs to other variables and older tables.
    unknown = {"auto", "auto_count", "auto_min", "footer"}
    return {key: value for key, value in built.items() if key not in unknown and value != "inControlsMenu"}


def _variable(name: str) -> dashboard.QueryVariable:
    instruments, narrowing = _VARIABLES[name]
    series = "|".join(METRICS[instrument].series[0] for instrument in instruments)
    conditions = ", ".join([f'__name__=~"{series}"', *(f'{label}=~"${label}"' for label in narrowing)])
    query = f"label_values({{{conditions}}}, {name})"
    variable = (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(PROMETHEUS)
        .query({"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(VariableOption(text=["All"], value=["$__all"], selected=True))
    )
    # Whatever it is, and none: a manifest loaded before any call belongs to no operation.
    return variable if name in _LISTED else variable.all_value(".*")


def _sources() -> list[dashboard.DatasourceVariable]:
    return [
        dashboard.DatasourceVariable(name).label(label).type(kind).hide(VariableHide.DONT_HIDE).multi(False)
        for name, label, kind in (("datasource", "Metrics", "prometheus"), ("tempo", "Traces", "tempo"))
    ]


def _siblings() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("AI-Lib").type(DashboardLinkType.DASHBOARDS).tags([TAG]).icon("external link")
    return link.include_vars(True).keep_time(True).as_dropdown(True)


def _traces() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Traces").type(DashboardLinkType.LINK).icon("external link")
    return link.url(traces.url([traces.CALLS])).tooltip("Traces of calls, in Tempo").target_blank(True)


def _alerts() -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name("Alerts")
        .datasource(PROMETHEUS)
        .enable(True)
        .hide(False)
        .icon_color("red")
        .target(prometheus.Dataquery().expr(_FIRING).ref_id("Anno").interval("60s"))
        .title_format("{{alertname}}")
        .text_format("{{severity}} {{provider}} {{model}} {{executor}}")
    )
