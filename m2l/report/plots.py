"""Drawing: a Vega-Lite specification to SVG, offline, in colours that the page's style sheet gives."""

import re
from typing import Any

import vl_convert

INK, GRID = "#010203", "#010204"
SERIES = ("#010205", "#010206", "#010207", "#010208")
"""Colours that stand for those of the page, which differ in the dark."""

_PAGE = {
    INK: "currentColor",
    "#000": "currentColor",
    GRID: "var(--grid)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)},
}
_FONT = "system-ui, sans-serif"

_AXIS = {
    "labelColor": INK, "titleColor": INK, "gridColor": GRID, "domainColor": GRID, "tickColor": GRID,
    "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 260,
}  # fmt: skip
_CONFIG: dict[str, Any] = {
    "aria": False,  # the whole plot is one image with a name, and its table stands beside it
    "font": _FONT,
    "axis": _AXIS,
    "axisY": {"grid": False, "ticks": False, "domain": False},
    "legend": {
        "labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
        "orient": "top", "symbolType": "square", "labelLimit": 300,
    },
    "header": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "labelFontWeight": "bold"},
    "view": {"stroke": None},
    "range": {"category": list(SERIES)},
}  # fmt: skip

Rows = list[dict[str, Any]]


def svg(rows: Rows, spec: dict[str, Any]) -> str:
    """Return the SVG of a plot of some rows."""
    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": None,
        "config": _CONFIG,
        "data": {"values": rows},
        "padding": {"left": 28, "right": 16, "top": 2, "bottom": 2},  # names are wider in the reader's font
        **spec,
    }
    drawn: str = vl_convert.vegalite_to_svg(whole, allowed_base_urls=[])
    return re.sub(r"<[^>]*>", _own, drawn)


def _own(tag: re.Match[str]) -> str:
    """Return a tag of a drawing in the colours of the page, and without roles: the whole of it is one image."""
    bare = re.sub(r' (?:role|aria-[a-z]+)="[^"]*"', "", tag[0])
    return re.sub(r'="(#\w+)"', lambda colour: f'="{_PAGE.get(colour[1], colour[1])}"', bare)


def axis(field: str, title: str | None, kind: str = "quantitative", **more: Any) -> dict[str, Any]:
    """Return an encoding by a column; names keep the order of the rows."""
    order = {"sort": None} if kind == "nominal" else {}
    return {"field": field, "type": kind, "title": title, **order, **more}


def bars(names: str, values: str, title: str, *, share: bool = False, series: str | None = None) -> dict[str, Any]:
    """Return a plot of a bar for each name, or for each name and series."""
    form = (
        {"axis": {"format": "%", "tickCount": 5}, "scale": {"domain": [0, 1]}} if share else {"axis": {"tickCount": 5}}
    )
    encoding = {"y": axis(names, None, "nominal"), "x": axis(values, title, **form)}
    step: dict[str, Any] = {"step": 18}
    if series is not None:
        step = {"step": 9, "for": "offset"}
        encoding["yOffset"] = axis(series, None, "nominal")
        encoding["color"] = axis(series, None, "nominal")
    colour = {} if series else {"color": SERIES[0]}
    return {"width": 320, "height": step, "mark": {"type": "bar", **colour}, "encoding": encoding}


def stacked(names: str, values: str, title: str, series: str) -> dict[str, Any]:
    """Return a plot of a bar for each name, cut into series from light to dark."""
    return {
        "width": 320,
        "height": {"step": 18},
        "mark": {"type": "bar", "color": SERIES[0]},
        "encoding": {
            "y": axis(names, None, "nominal"),
            "x": axis(values, title, axis={"tickCount": 5}),
            "opacity": axis(series, series, "ordinal", scale={"range": [0.25, 1]}),
            "order": {"field": series},
        },
    }


def dots(names: str, values: str, title: str, series: str) -> dict[str, Any]:
    """Return a plot of a mark for each name and series on one scale from 0 to 1."""
    return {
        "width": 320,
        "height": {"step": 18},
        "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
        "encoding": {
            "y": axis(names, None, "nominal", axis={"grid": True}),
            "x": axis(values, title, scale={"domain": [0, 1]}, axis={"tickCount": 5}),
            "color": axis(series, None, "nominal"),
            "shape": axis(series, None, "nominal"),
        },
    }


def ranges(names: str, low: str, middle: str, high: str, title: str) -> dict[str, Any]:
    """Return a plot of a line from a low to a high value for each name, with a dot in the middle."""
    y = axis(names, None, "nominal")
    return {
        "width": 320,
        "height": {"step": 18},
        "layer": [
            {
                "mark": {"type": "rule", "color": SERIES[0], "strokeWidth": 3, "opacity": 0.45},
                "encoding": {"y": y, "x": axis(low, title, axis={"tickCount": 5}), "x2": {"field": high}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 60, "color": SERIES[0], "opacity": 1},
                "encoding": {"y": y, "x": axis(middle, title)},
            },
        ],
    }


def heat(x: str, y: str, values: str, facet: str | None, *, columns: int) -> dict[str, Any]:
    """Return a heat map, one for each value of `facet`; a cell without a row is an empty frame."""
    place = {
        "x": axis(x, None, "nominal", axis={"labelAngle": -45, "ticks": False, "domain": False, "grid": False}),
        "y": axis(y, None, "nominal"),
    }
    shade = axis(values, "rows", scale={"range": [0, 1], "domainMin": 0}, legend={"tickCount": 3})
    cell = {
        "width": {"step": 15},
        "height": {"step": 15},
        "layer": [
            {"mark": {"type": "rect", "filled": False, "stroke": GRID, "strokeWidth": 1}, "encoding": place},
            {"mark": {"type": "rect", "color": SERIES[0]}, "encoding": place | {"opacity": shade}},
        ],
    }
    if facet is None:
        return cell
    return {
        "facet": axis(facet, None, "nominal", header={"labelAnchor": "start"}),
        "columns": columns,
        "spec": cell,
        "resolve": {"scale": {"x": "independent"}},
    }
