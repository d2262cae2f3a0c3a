"""The method figure: readable at page width, nothing over anything else, the same bytes each time."""

from itertools import combinations

import pytest
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from lrs.figures.method import method_figure
from lrs.figures.style import PAGE, save_figure


@pytest.fixture(scope="module")
def figure():
    drawn = method_figure()
    FigureCanvasAgg(drawn).draw()
    return drawn


def test_it_is_a_page_wide_and_within_its_canvas(figure):
    width, height = figure.get_size_inches()
    extent = figure.get_tightbbox()
    assert width == PAGE
    assert min(extent.x0, extent.y0) >= -0.02
    assert extent.x1 <= width + 0.02
    assert extent.y1 <= height + 0.02
    assert plt.get_fignums() == []


def test_no_text_is_small_or_lies_over_another(figure):
    texts = [*figure.axes[0].texts, *figure.legends[0].get_texts()]
    assert min(text.get_fontsize() for text in texts) >= 7
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    assert [(a, b) for (a, one), (b, two) in combinations(boxes, 2) if one.overlaps(two)] == []


def test_no_text_runs_over_the_edge_of_a_box(figure):
    boxes = [patch.get_window_extent() for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    for text in figure.axes[0].texts:
        extent = text.get_window_extent()
        for box in (box for box in boxes if box.overlaps(extent)):
            assert box.x0 <= extent.x0, text.get_text()
            assert extent.x1 <= box.x1, text.get_text()


def test_arrows_end_at_what_they_point_to_and_not_within_it(figure):
    boxes = [patch.get_window_extent() for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    tips = [
        patch.get_transform().transform(patch.get_path().vertices[-1])
        for patch in figure.axes[0].patches
        if isinstance(patch, FancyArrowPatch)
    ]
    assert len(tips) > 10
    assert [tip for tip in tips for box in boxes if box.contains(*tip)] == []


@pytest.mark.parametrize("word", ["trace", "latents", "rewards", "gate", "ascent", "write-back"])
def test_it_names_every_step(figure, word):
    assert any(word in text.get_text() for text in figure.axes[0].texts)


def test_files_are_the_same_bytes_each_time(figure, tmp_path):
    one, two = (save_figure(drawn, tmp_path / str(n), "method") for n, drawn in enumerate((figure, method_figure())))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
