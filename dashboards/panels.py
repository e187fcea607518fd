"""The one style that all panels have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    GraphGradientMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TableAutoCellOptions,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")

GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "#808080"

Panel = timeseries.Panel | stat.Panel | statetimeline.Panel | table.Panel | bargauge.Panel
P = TypeVar("P", timeseries.Panel, stat.Panel, statetimeline.Panel, table.Panel, bargauge.Panel)
# Where a colour begins: (0.01, "orange"). The first colour has no beginning.
Steps = Sequence[tuple[float | None, str]]
CALM: Final[Steps] = ((None, BLUE),)
FEW: Final[Steps] = ((None, GREEN), (0.01, ORANGE), (0.05, RED))
"""For shares of which there should be few."""
NONE: Final[Steps] = ((None, GREEN), (0.001, RED))
"""For what there should be none of."""


@dataclass(frozen=True)
class Target:
    """A query of a panel.

    Attributes:
        query: PromQL.
        labels: The labels that tell its series apart.
        name: What they are called besides.
    """

    query: str
    labels: Sequence[str] = ()
    name: str = ""

    def legend(self, title: str) -> str:
        """Return the names of its series in a panel of that title."""
        labels = [f"{{{{{label}}}}}" for label in self.labels]
        return " · ".join([self.name, *labels] if self.name else labels) or title


@dataclass(frozen=True)
class Text:
    """What a panel says of itself.

    Attributes:
        title: Its title.
        shows: What it shows.
        wrong: What to do when it looks wrong.
        unit: The unit of its values, as Grafana calls it.
        traces: The address of the traces behind it.
    """

    title: str
    shows: str
    wrong: str
    unit: str
    traces: str


def series(
    text: Text,
    *targets: Target,
    width: int = 12,
    stacking: StackingMode = StackingMode.NONE,
    colors: Mapping[str, str] | None = None,
    maximum: float | None = None,
) -> timeseries.Panel:
    """Return a panel of lines, or of areas stacked on one another.

    Args:
        text: What it says of itself.
        targets: Its queries.
        width: Its width, of 24.
        stacking: Whether its series add up.
        colors: Colours of series, by their names.
        maximum: The greatest value there can be.
    """
    stacked = stacking != StackingMode.NONE
    panel = (
        _panel(timeseries.Panel(), text, targets, width, 8)
        .min(0)
        .line_width(1)
        .fill_opacity(60 if stacked else 8)
        .gradient_mode(GraphGradientMode.NONE)
        .stacking(common.StackingConfig().mode(stacking).group("A"))
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    for name, color in (colors or {}).items():
        panel.override_by_name(name, [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})])
    return panel if maximum is None else panel.max(maximum)


def number(text: Text, target: Target, *, steps: Steps = CALM, none: str = "0") -> stat.Panel:
    """Return a panel of one number and how it came about.

    Args:
        text: What it says of itself.
        target: Its query.
        steps: Its colours.
        none: What it shows where there is no value.
    """
    return (
        _panel(stat.Panel(), text, [target], 4, 4)
        .no_value(none)
        .thresholds(_steps(steps))
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def states(text: Text, target: Target, names: Mapping[str, str], *, width: int = 24) -> statetimeline.Panel:
    """Return a panel of states over time.

    Args:
        text: What it says of itself.
        target: Its query, whose values are positions in ``names``.
        names: The states and their colours.
        width: Its width, of 24.
    """
    options = {
        str(position): ValueMappingResult(text=name, color=color, index=position)
        for position, (name, color) in enumerate(names.items())
    }
    return (
        _panel(statetimeline.Panel(), text, [target], width, 8)
        .mappings([ValueMap(options)])
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .thresholds(_steps(((None, GREY),)))
        .merge_values(True)
        .row_height(0.8)
        .fill_opacity(80)
        .legend(
            common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).calcs([])
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.SINGLE).sort(SortOrder.NONE))
    )


def bars(text: Text, target: Target, *, width: int = 8) -> bargauge.Panel:
    """Return a panel of one bar for each series, the value over the whole time range."""
    return (
        _panel(bargauge.Panel(), text, [target], width, 8)
        .targets([_query(text, target).instant()])
        .min(0)
        .no_value("none")
        .thresholds(_steps(CALM))
        .orientation(VizOrientation.HORIZONTAL)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def rows(text: Text, target: Target, *, width: int = 8) -> table.Panel:
    """Return a table of one row for each series, the value over the whole time range, the greatest first."""
    # A table's labels are columns of their own.
    text = replace(text, traces=text.traces.replace("${__field.labels.", "${__data.fields."))
    return (
        _panel(table.Panel(), text, [target], width, 8)
        .targets([_query(text, target).instant().format(PromQueryFormat.TABLE)])
        .no_value("none")
        .sort_by([common.TableSortByFieldState().display_name("Value").desc(True)])
        .cell_options(TableAutoCellOptions())
        .override_by_name("Time", [DynamicConfigValue("custom.hidden", True)])
    )


def _panel(panel: P, text: Text, targets: Sequence[Target], width: int, height: int) -> P:
    link = dashboard.DashboardLink("Traces").type(DashboardLinkType.LINK).url(text.traces).target_blank(True)
    panel.title(text.title).description(f"{text.shows}\n\n**If it looks wrong:** {text.wrong}").unit(text.unit)
    panel.datasource(PROMETHEUS).span(width).height(height).data_links([link])
    lines = isinstance(panel, timeseries.Panel)
    for position, target in enumerate(targets):
        panel.with_target(_query(text, target, lines).ref_id(chr(ord("A") + position)).range())
    return panel


def _query(text: Text, target: Target, exemplars: bool = False) -> prometheus.Dataquery:
    query = prometheus.Dataquery().datasource(PROMETHEUS).ref_id("A").expr(target.query)
    # Nothing but lines can show exemplars.
    return query.legend_format(target.legend(text.title)).exemplar(exemplars and "_bucket" in target.query)


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
        .sort_by("Max")
        .sort_desc(True)
    )


def _steps(steps: Steps) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=value, color=color) for value, color in steps])
    )
