"""Colors are told apart without red or green, wherever nothing else tells things apart."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from test_figures import FIGURES

from lrs.figures.palette import ARM_COLORS, BEHAVIOR_COLORS, BLACK, CORRECT_COLORS, LIGHT

LINEAR_TO_XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
# What is seen of linear red, green and blue (Machado et al. 2009, of full severity).
SEEN = {
    "by most": np.eye(3),
    "without red": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
    "without green": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
}
APART = 12  # of CIE Lab, of two colors that nothing else tells apart


def lab(color, seen):
    """CIE L*, a*, b* of a color under daylight (D65), as it is seen."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = LINEAR_TO_XYZ @ np.clip(seen @ linear, 0, 1) / LINEAR_TO_XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def apart(one, other):
    """By how much two colors differ for whoever tells them apart least."""
    return min(np.linalg.norm(lab(one, seen) - lab(other, seen)) for seen in SEEN.values())


def look_of(handle):
    """The color of an entry of a legend, and all else that tells it from others."""
    if isinstance(handle, Line2D):
        filled = to_hex(handle.get_markerfacecolor()) != "#ffffff"
        return handle.get_color(), (handle.get_marker(), handle.get_linestyle(), filled, handle.get_linewidth() > 2)
    *edge, drawn = handle.get_edgecolor()
    *face, opaque = handle.get_facecolor()
    return edge if drawn else [1 - opaque * (1 - part) for part in face], ("area",)  # on white


def legends_of(figure):
    return [legend for legend in (*figure.legends, *(axis.get_legend() for axis in figure.axes)) if legend]


def test_colors_are_as_far_apart_as_they_look():
    assert lab("white", np.eye(3)) == pytest.approx([100, 0, 0], abs=0.1)
    assert lab("#ff0000", np.eye(3)) == pytest.approx([53.2, 80.1, 67.2], abs=0.2)
    assert (
        apart("#D40000", "#7A6A00") < APART < 60 < np.linalg.norm(lab("#D40000", np.eye(3)) - lab("#7A6A00", np.eye(3)))
    )


def test_the_first_colors_are_told_apart_without_red_or_green():
    first = list(ARM_COLORS.values())[:8]
    behaviors = [*BEHAVIOR_COLORS.values(), LIGHT]  # with what a stacked bar has besides
    for colors in (first, behaviors, [*BEHAVIOR_COLORS.values(), BLACK], list(CORRECT_COLORS.values())):
        assert min(apart(*pair) for pair in combinations(colors, 2)) > APART


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_told_apart_by_colors_that_look_alike(name):
    """What a legend tells apart differs in its marker or line, or in colors that are far apart for everybody."""
    for legend in legends_of(FIGURES[name]()):
        looks = [look_of(handle) for handle in legend.legend_handles]
        alike = [(one, other) for (one, how), (other, also) in combinations(looks, 2) if how == also]
        assert [pair for pair in alike if apart(*pair) <= APART] == []
