"""A matplotlib figure as a piece of a page: SVG whose colours are CSS variables and whose text is
text."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

if TYPE_CHECKING:
    from matplotlib.axis import Axis

INKS: Final[Mapping[str, str]] = {
    "before": "#a00001",
    "after": "#a00002",
    "ink": "#a00003",
    "muted": "#a00004",
    "grid": "#a00005",
    "band": "#a00006",
}
"""Name of a CSS variable of the page -> the colour that stands for it while matplotlib draws."""

SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # text stays text: found by a search, read aloud, in the page's font
    "svg.hashsalt": "sweeper",  # the same study gives the same bytes
    "text.parse_math": False,  # a layer may be called $x$
    "font.size": 10,
    "axes.edgecolor": INKS["muted"],
    "axes.labelcolor": INKS["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INKS["grid"],
    "grid.linewidth": 0.6,
    "text.color": INKS["ink"],
    "xtick.color": INKS["muted"],
    "ytick.color": INKS["muted"],
    "xtick.labelcolor": INKS["ink"],
    "ytick.labelcolor": INKS["ink"],
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
_SVG = "http://www.w3.org/2000/svg"
_LINK = "http://www.w3.org/1999/xlink"
_FONT = re.compile(r"font: ([0-9.]+px)[^;]*;?")


def settings() -> Any:
    """The look of every plot, as a context."""
    return rc_context(SETTINGS)


def new_figure(width: float, height: float) -> Figure:
    """Inches; a page scales it to its column."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def log_axis(axis: Axis) -> None:
    """Decades as 1e-3: matplotlib's own labels are TeX, which is not read as text."""

    def short(value: float, _: object) -> str:
        digits, _, power = f"{value:.0e}".partition("e")
        return f"{digits}e{int(power)}" if value and not 0.1 <= abs(value) < 1000 else f"{value:g}"

    axis.set_major_formatter(FuncFormatter(short))
    axis.set_minor_formatter(NullFormatter())


def svg_of(figure: Figure, name: str, alt: str) -> str:
    """The figure as an ``<svg>`` element.

    Args:
        name: unique in the page; every id inside begins with it.
        alt: what the picture says, for who does not see it.
    """
    out = io.StringIO()
    with warnings.catch_warnings():
        # Widths are measured in a font that need not have every letter; the page's own font has.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    root = ET.fromstring(out.getvalue())
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        _adapt(element, name)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.attrib.update({"role": "img", "aria-label": alt, "class": "plot"})
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _LINK)
    return ET.tostring(root, encoding="unicode")


def _adapt(element: ET.Element, name: str) -> None:
    """Colours to variables, ids to this figure's own, the page's font."""
    for key, value in list(element.attrib.items()):
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key == f"{{{_LINK}}}href" and value.startswith("#"):
            element.set(key, f"#{name}-{value[1:]}")
        elif key == "clip-path":
            element.set(key, value.replace("url(#", f"url(#{name}-"))
        elif key == "style":
            for ink, colour in INKS.items():
                value = value.replace(colour, f"var(--{ink})")
            element.set(key, _FONT.sub(r"font-size: \1;", value))
