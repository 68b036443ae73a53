import base64
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crosslinknet import plots


def drawn(figure, name="f", label="a figure"):
    return plots.svg(figure, name, label)


def pictures_in(text):
    """Embedded pictures of an SVG, as RGB arrays."""
    data = re.findall(r"data:image/png;base64,([^\"]*)", text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(d))).convert("RGB")) for d in data]


def square(size, low, high):
    mask = np.zeros((1, size, size), dtype=bool)
    mask[0, low:high, low:high] = True
    return mask


def group(text, gid):
    """The drawing instructions of the group with this id."""
    return re.search(rf'<g id="{gid}">(.*?)</g>', text, re.DOTALL)


# --- svg ---------------------------------------------------------------------------------------


def test_an_svg_for_a_page_has_no_fixed_size_and_names_no_address():
    text = drawn(plots.curves(np.arange(3.0), {"loss": np.ones(3)}, "loss"))
    assert text.startswith("<svg")
    assert text.endswith("</svg>")
    assert "http" not in text
    assert not re.search(r'<svg[^>]* (width|height)="', text)
    assert "<style" not in text  # it would hold for the whole page


def test_ids_begin_with_the_name_so_that_figures_can_share_a_page():
    text = drawn(plots.histogram(np.arange(5.0), "x", None, {"mean": 2.0}), name="left")
    ids = re.findall(r'\bid="([^"]*)"', text)
    links = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', text)
    assert ids
    assert all(name.startswith("left-") for name in ids)
    assert {a or b for a, b in links} <= set(ids)


def test_equal_figures_give_equal_strings():
    def one():
        return drawn(plots.curves(np.arange(4.0), {"a": np.arange(4.0)}, "loss"))

    assert one() == one()


def test_the_label_is_escaped():
    text = drawn(plots.histogram(np.arange(3.0), "x", None, {}), label='<script>"&')
    assert 'aria-label="&lt;script&gt;&quot;&amp;"' in text


def test_colours_can_be_changed_by_css_variables():
    text = drawn(plots.curves(np.arange(3.0), {"loss": np.ones(3)}, "loss"))
    assert "var(--ink, #1b2733)" in text


def test_importing_plots_does_not_load_matplotlib():
    code = "import sys, crosslinknet.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- charts ------------------------------------------------------------------------------------


def test_curves_leave_out_epochs_without_a_value():
    values = np.array([np.nan, 1.0, np.nan, 3.0])
    axes = plots.curves(np.arange(4.0), {"validation": values}, "Dice").axes[0]
    assert axes.lines[0].get_xdata().tolist() == [1.0, 3.0]
    assert axes.get_legend() is None  # one line needs no legend


def test_five_curves_differ_in_colour_and_in_line_style():
    lines = {name: np.arange(3.0) for name in "abcde"}
    axes = plots.curves(np.arange(3.0), lines, "loss").axes[0]
    colours = {line.get_color() for line in axes.lines}
    dashes = {str(line._dash_pattern) for line in axes.lines}
    assert len(axes.lines) == len(colours) == len(dashes) == 5


def test_size_bins_split_at_the_small_target_limit():
    fractions = np.array([0.0, 0.0059, 0.006, 0.0199])
    bins = plots.size_bins(fractions, np.array([0.0, 0.2, 0.4, 0.8]))
    assert [(b.low, b.high, b.images) for b in bins] == [(0.002, 0.006, 1), (0.006, 0.02, 2)]
    assert bins[1].mean == pytest.approx(0.6)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=50))
def test_size_bins_count_every_target_once_and_keep_the_mean(pairs):
    fractions, scores = np.array(pairs).T
    bins = plots.size_bins(fractions, scores)
    shown = fractions > 0
    assert sum(b.images for b in bins) == shown.sum()
    total = sum(b.images * b.mean for b in bins)
    assert total == pytest.approx(scores[shown].sum())


def test_size_scatter_marks_misses_and_the_limit_of_a_small_target():
    fractions, scores = np.array([0.001, 0.05, 0.05]), np.array([0.0, 80.0, 90.0])
    figure = plots.size_scatter(fractions, scores, scores == 0, "Dice, %", (0, 100))
    axes = figure.axes[0]
    names = axes.get_legend_handles_labels()[1]
    assert names == ["one image", "missed", "mean of a size class"]
    assert any(np.allclose(line.get_xdata(), 0.006) for line in axes.lines)
    low, high = axes.get_xlim()
    assert low <= 0.001 < 0.05 <= high


def test_size_scatter_without_any_target_is_an_empty_chart():
    nothing = np.zeros(2)
    figure = plots.size_scatter(nothing, nothing + np.nan, nothing > 0, "Dice, %", (0, 100))
    assert "<svg" in drawn(figure)


def test_thousands_of_dots_become_one_picture():
    rng = np.random.default_rng(0)
    fractions, scores = rng.uniform(0.001, 0.3, 20_000), rng.uniform(0, 100, 20_000)
    text = drawn(plots.size_scatter(fractions, scores, scores < 0, "Dice, %", (0, 100)))
    assert "<image" in text
    assert len(text) < 300_000


def test_histogram_counts_every_known_score():
    scores = np.array([1.0, 2.0, 99.0, np.nan])
    axes = plots.histogram(scores, "Dice, %", (0, 100), {"mean": 34.0}).axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == 3


# --- pictures ----------------------------------------------------------------------------------


def test_overlay_draws_reference_and_prediction_in_two_colours_and_two_styles():
    image = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    text = drawn(plots.overlay(image, pred=square(64, 22, 42), target=square(64, 20, 40)))
    target, pred = group(text, "f-target-0")[1], group(text, "f-pred-0")[1]
    assert plots.REFERENCE in target
    assert "stroke-dasharray" not in target
    assert plots.PREDICTION in pred
    assert "stroke-dasharray" in pred


def test_overlay_of_a_missed_target_shows_the_reference_alone():
    image = np.zeros((40, 40))
    text = drawn(plots.overlay(image, pred=square(40, 0, 0), target=square(40, 10, 20)))
    assert group(text, "f-target-0")
    assert not group(text, "f-pred-0")


def test_overlay_of_two_empty_masks_shows_the_slice():
    empty = square(40, 0, 0)
    assert len(pictures_in(drawn(plots.overlay(np.zeros((40, 40)), empty, empty)))) == 2


def test_an_outline_of_a_square_has_its_corners_only():
    mask = square(200, 50, 150)
    text = drawn(plots.overlay(np.zeros((200, 200)), mask, mask))
    points = re.search(r' d="([^"]*)"', group(text, "f-target-0")[1])[1]
    assert points.count("L") + points.count("M") <= 9  # eight corners, since they are cut


def test_an_outline_at_the_edge_of_the_slice_is_closed():
    mask = square(40, 0, 40)
    text = drawn(plots.overlay(np.zeros((40, 40)), mask, mask))
    points = re.search(r' d="([^"]*)"', group(text, "f-target-0")[1])[1]
    assert points.rstrip().endswith("z")


def test_embedded_pictures_keep_grey_values_to_within_one():
    values = np.arange(64 * 64).reshape(64, 64) % 256
    empty = square(64, 0, 0)
    whole = pictures_in(drawn(plots.overlay(values / 255, empty, empty)))[0]
    assert np.abs(whole.astype(int) - values[..., None]).max() <= 1


def test_embedded_pictures_keep_colour():
    image = np.zeros((40, 40, 3))
    image[..., 0], image[:20, :, 1] = 1.0, 1.0
    empty = square(40, 0, 0)
    whole = pictures_in(drawn(plots.overlay(image, empty, empty)))[0]
    assert whole[0, 0].tolist() == [255, 255, 0]
    assert whole[39, 0].tolist() == [255, 0, 0]


def test_large_colour_slices_stay_within_their_range(caplog):
    stripes = np.zeros((600, 600, 3))
    stripes[:, ::7] = 1.0
    drawn(plots.overlay(stripes, square(600, 0, 0), square(600, 0, 0)))
    assert caplog.text == ""  # matplotlib complains about colours outside 0..1


def test_large_slices_are_made_smaller():
    empty = square(1000, 0, 0)
    text = drawn(plots.overlay(np.random.default_rng(0).random((1000, 1000)), empty, empty))
    assert len(text) < 300_000


@given(
    st.integers(30, 120), st.integers(30, 120),
    st.tuples(*[st.floats(0, 1)] * 4),
)  # fmt: skip
def test_the_region_of_interest_holds_the_whole_mask(height, width, corners):
    mask = np.zeros((height, width), dtype=bool)
    y, x = (
        sorted(int(c * (height - 1)) for c in corners[:2]),
        sorted(int(c * (width - 1)) for c in corners[2:]),
    )
    mask[y[0] : y[1] + 1, x[0] : x[1] + 1] = True
    rows, columns = plots.region_of_interest(mask)
    assert mask[rows, columns].sum() == mask.sum()
    assert 0 <= rows.start < rows.stop <= height
    assert 0 <= columns.start < columns.stop <= width


def test_attention_panel_shows_the_input_and_every_map():
    mask = square(64, 20, 40)[0]
    maps = {"vertical": np.eye(16), "horizontal": np.zeros((16, 16))}
    text = drawn(plots.attention_panel(np.random.default_rng(0).random((64, 64)), mask, maps))
    assert len(pictures_in(text)) == 3
    assert all(word in text for word in ("input", "vertical", "horizontal"))


# --- comparison, reliability, files --------------------------------------------------------------

NAMES = ["a & b", "a method with a rather long name", "c"]


def test_a_figure_is_saved_as_svg_and_as_png_for_print_the_same_each_time(tmp_path):
    figure = plots.rank_axis(NAMES, [1.2, 2.0, 2.8], [NAMES[:2]])
    files = plots.save({"ranks": figure}, tmp_path / "sub", "compare")
    assert [path.name for path in files] == ["ranks.svg", "ranks.png"]
    with Image.open(files[1]) as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=1)
    again = plots.save({"ranks": figure}, tmp_path / "again", "compare")
    assert files[1].read_bytes() == again[1].read_bytes()
    text = files[0].read_text("utf-8")
    assert "a method with a rather long name" in text  # text stays text
    assert "a &amp; b" in text


def test_figures_of_an_earlier_call_go_and_those_of_others_stay(tmp_path):
    figure = plots.rank_axis(NAMES, [1.2, 2.0, 2.8], [NAMES[:2]])
    plots.save({"theirs": figure}, tmp_path, "evaluate")
    plots.save({"old": figure, "both": figure}, tmp_path, "compare")
    figure.savefig(tmp_path / "mine.png")
    (tmp_path / "mine.svg").write_text("<svg/>", "utf-8")
    plots.save({"both": figure}, tmp_path, "compare")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["both.png", "both.svg", "mine.png", "mine.svg", "theirs.png", "theirs.svg"]


def words_at(figure):
    """Every text of a drawn figure with its box in pixels, and the size of the canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = {
        text.get_text().strip(): text.get_window_extent()
        for axes in figure.axes
        for text in axes.texts
    }
    return found, canvas.get_width_height()


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_no_name_on_the_axis_of_ranks_is_cut_off(count):
    names = [f"method-with-a-name-of-some-length-{n}" for n in range(count)]
    found, (width, height) = words_at(plots.rank_axis(names, list(range(1, count + 1)), []))
    assert sum(name in text for text in found for name in names) == count
    for text, box in found.items():
        assert box.x0 >= 0, text
        assert box.x1 <= width, text
        assert box.y0 >= 0, text
        assert box.y1 <= height, text


def test_a_difference_that_the_test_finds_is_filled_and_others_are_hollow():
    figure = plots.differences(
        ["x", "y"], [1.0, 0.2], [(0.5, 1.5), (-1.0, 1.0)], [True, False], "d"
    )
    (axes,) = figure.axes
    faces = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"]
    assert faces == [plots.PALETTE["orange"], "white"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "y"]
    assert axes.get_ylim() == (1.5, -0.5)  # the first on top


def test_places_fill_a_bar_for_every_method():
    (axes,) = plots.places(["x", "y"], [[0.75, 0.25], [0.25, 0.75]]).axes
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == [0.75, 0.25, 0.25, 0.75]
    assert [text.get_text() for text in axes.texts] == ["1", "2", "1", "2"]


def test_values_of_subjects_are_dots_around_their_row():
    values = [np.array([1.0, np.nan, 3.0]), np.array([2.0])]
    (axes,) = plots.method_values(["x", "y"], values, [2.0, 2.0], [(1.0, 3.0), None], "v").axes
    dots = [part.get_offsets() for part in axes.collections]
    assert [len(part) for part in dots] == [2, 1]
    assert np.abs(np.asarray(dots[1])[:, 1] - 1).max() < 0.2


def test_reliability_draws_what_was_observed_beside_the_ideal():
    bins = [
        {"confidence": 0.01, "frequency": 0.0, "pixels": 900},
        {"confidence": 0.9, "frequency": 0.7, "pixels": 100},
    ]
    (axes,) = plots.reliability(bins).axes
    observed = axes.lines[1]
    assert observed.get_xdata().tolist() == [0.01, 0.9]
    assert observed.get_ydata().tolist() == [0.0, 0.7]
    sizes = axes.collections[0].get_sizes()
    assert sizes[0] > sizes[1]


def test_labels_of_a_network_stand_beside_their_images_one_column_per_class():
    """Images of several sizes, as with image.fit crop; each panel spans its own."""
    slices = []
    for name, size in (("a", (20, 30)), ("b", (16, 16))):
        probs = np.zeros((2, *size), np.float32)
        probs[0, 4:9, 4:9] = 0.9
        slices.append(plots.Labelled(name, np.full(size, 0.5, np.float32), probs, probs > 0.5))
    figure = plots.pseudo_labels(slices, ["ggo", "consolidation"])
    panels = figure.axes
    assert len(panels) == 6
    assert panels[0].get_title() == "a"
    assert panels[3].get_title() == "b"
    assert panels[1].get_title().startswith("ggo")
    for panel, (height, width) in zip(panels, [(20, 30)] * 3 + [(16, 16)] * 3, strict=True):
        assert panel.images[0].get_extent() == [-0.5, width - 0.5, height - 0.5, -0.5]
    gids = [line.get_gid() for panel in panels for line in panel.collections]
    assert gids == ["pred-0", "pred-0"]  # nothing is outlined where nothing was found
