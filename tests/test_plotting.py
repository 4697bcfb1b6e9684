"""The figures are drawn for real and looked at pixel by pixel."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from sklearn.decomposition import PCA

import jaxae
from jaxae import plotting

HISTORY = [
    {
        "epoch": n,
        "loss": 100.0 + 50.0 / n,
        "validation_loss": 102.0 + 50.0 / n,
        "distortion_nats": 80.0 + 50.0 / n,
        "rate_nats": 20.0,
        "penalty_nats": 0.0,
        "examples_per_second": 1e4,
    }
    for n in range(1, 6)
]


def draw(figure):
    """Pixels [height, width, 3] in [0, 1], as they would be saved."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3] / 255


def text_boxes(figure):
    """(text, box) of all that is drawn; there are ticks beyond the limits, too."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = []
    for axes in figure.axes:
        legend = axes.get_legend()
        texts += [child for child in axes.get_children() if isinstance(child, Text)]
        texts += [axes.xaxis.label, axes.yaxis.label]
        texts += [*legend.get_texts(), legend.get_title()] if legend else []
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
            texts += [label for t in ticks for label in (t.label1, t.label2)]
    shown = [t for t in texts if t.get_visible() and t.get_text()]
    return [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in shown]


def axes_of(figure):
    (axes,) = figure.axes
    return axes


def numbers(count, *shape):
    return np.random.default_rng(0).random((count, *shape))


def test_learning_curves_have_a_panel_for_each_term_that_says_something():
    figure = plotting.learning_curves(HISTORY)
    titles = [axes.get_title("left").split(",")[0] for axes in figure.axes]
    assert titles == ["loss", "distortion", "rate"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    assert {axes.get_ylabel() for axes in figure.axes} == {"nats per example"}
    train, validation = figure.axes[0].lines
    np.testing.assert_allclose(train.get_ydata(), [row["loss"] for row in HISTORY])
    np.testing.assert_allclose(validation.get_ydata() - train.get_ydata(), 2.0)
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["training", "validation"]


def test_a_term_that_is_the_loss_itself_gets_no_panel():
    history = [{"epoch": 1, "loss": 3.0, "distortion_nats": 3.0, "penalty_nats": 0.0}]
    assert len(plotting.learning_curves(history).axes) == 1


def test_one_epoch_is_a_visible_point():
    figure = plotting.learning_curves([{"epoch": 1, "loss": 3.0}])
    blue = np.array([0x25, 0x63, 0xEB]) / 255
    hits = np.abs(draw(figure) - blue).max(-1) < 0.02
    assert hits.sum() > 100  # the marker, and the one in the legend
    assert list(axes_of(figure).get_xticks()) == [1]


def test_missing_values_of_a_curve_are_left_out():
    history = [{"epoch": 1, "loss": None}, {"epoch": 2, "loss": 4.0}]
    (line,) = axes_of(plotting.learning_curves(history)).lines
    np.testing.assert_array_equal(line.get_ydata(), [np.nan, 4.0])


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (64, 48, 3), (8, 8, 1)])
def test_every_pixel_is_a_sharp_square_of_its_own_value(shape):
    """The drawn tile, read at every pixel's place, is the image to half a level."""
    images = numbers(6, *shape)
    drawn = draw(plotting.image_grid(images, columns=3))
    scale = max(1, round(112 / max(shape)))
    h, w = shape[0] * scale, shape[1] * scale
    for n, image in enumerate(images):
        top = 24 + (n // 3) * (h + 8)
        left = 24 + (n % 3) * (w + 8)
        tile = drawn[top : top + h, left : left + w]
        expected = np.broadcast_to(image, (*shape[:2], 3))
        enlarged = expected.repeat(scale, axis=0).repeat(scale, axis=1)
        # Half a level, and the rounding of float32.
        np.testing.assert_allclose(tile, enlarged, atol=0.5001 / 255, rtol=0)


def test_a_grid_leaves_the_rest_of_its_last_row_white():
    drawn = draw(plotting.image_grid(np.zeros((4, 28, 28, 1)), columns=3))
    dark = (drawn < 0.5).all(axis=-1)
    assert dark.sum() == 4 * 112 * 112
    assert not dark[24 + 120 :, 24 + 120 :].any()


def test_bytes_floats_and_values_outside_look_as_they_should():
    levels = np.full((1, 8, 8, 1), 128, np.uint8)
    as_bytes = draw(plotting.image_grid(levels))
    as_floats = draw(plotting.image_grid(levels / 255))
    np.testing.assert_array_equal(as_bytes, as_floats)
    bright = draw(plotting.image_grid(np.full((1, 8, 8, 1), 7.0)))
    assert (bright == 1.0).all()


def test_two_channels_are_shown_by_their_mean():
    two = np.stack([np.zeros((1, 8, 8)), np.ones((1, 8, 8))], axis=-1)
    mean = np.full((1, 8, 8, 1), 0.5)
    np.testing.assert_array_equal(
        draw(plotting.image_grid(two)), draw(plotting.image_grid(mean))
    )


def test_large_images_are_shrunk():
    figure = plotting.image_grid(numbers(2, 512, 512, 3))
    assert draw(figure).shape[1] < 2 * 256 + 100


def test_pairs_are_two_labelled_rows():
    inputs, outputs = np.zeros((5, 28, 28, 1)), np.full((5, 28, 28, 1), 0.5)
    figure = plotting.image_pairs(inputs, outputs)
    labels = [t.get_text() for t in axes_of(figure).get_yticklabels()]
    assert labels == ["input", "reconstruction"]
    picture = axes_of(figure).images[0].get_array()
    assert (picture[:112] == 0).sum() == 5 * 112 * 112 * 3
    assert (picture[-112:] == 128).sum() == 5 * 112 * 112 * 3


def test_a_walk_is_labelled_from_start_to_end():
    figure = plotting.walk(numbers(10, 8, 8, 1).reshape(2, 5, 8, 8, 1))
    labels = [t.get_text() for t in axes_of(figure).get_xticklabels()]
    assert labels == ["start", "25%", "50%", "75%", "end"]


def test_a_traversal_is_labelled_by_dimensions_and_their_values():
    images = numbers(6, 8, 8, 1).reshape(2, 3, 8, 8, 1)
    axes = axes_of(plotting.traversal(images))
    assert [t.get_text() for t in axes.get_yticklabels()] == ["z₁", "z₂"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["−3.00", "0.00", "3.00"]
    axes = axes_of(plotting.traversal(images, dims=(3, 11), limits=(0.0, 10.0)))
    assert [t.get_text() for t in axes.get_yticklabels()] == ["z₄", "z₁₂"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0.0", "5.0", "10.0"]


def test_restorations_paint_the_hole_and_print_the_scores():
    x = np.zeros((3, 28, 28, 1))
    mask = np.zeros((3, 28, 28, 1), bool)
    mask[:, 4:16, 4:16] = True
    scores = {"PSNR damaged, dB": [10.04, 9.5, np.inf], "error": [0.01234, np.nan, 0.0]}
    figure = plotting.restoration_grid(x, x, x, scores, mask=mask)
    drawn = draw(figure)
    orange = (drawn[..., 0] > 0.9) & (drawn[..., 2] < 0.15)
    assert orange.sum() == 3 * 48 * 48  # 12 x 12 pixels, four times enlarged
    texts = [text.get_text() for text in axes_of(figure).texts]
    assert texts[:4] == ["PSNR damaged, dB", "10.0", "9.5", "∞"]
    assert texts[4:] == ["error", "0.0123", "–", "0.0000"]


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (64, 48, 3)])
def test_no_two_texts_overlap_and_none_is_cut_off(shape):
    x = numbers(10, *shape)
    scores = {
        "PSNR damaged, dB": [-21.5] * 10,
        "squared error, restored": [0.01234] * 10,
    }
    figures = [
        plotting.restoration_grid(x, x, x, scores),
        plotting.walk(x.reshape(2, 5, *shape), "Walks through the latent space of it"),
        plotting.traversal(x.reshape(2, 5, *shape), dims=(0, 11), title="Traversals"),
        plotting.image_grid(x[:1], title="A title that is wider than one image"),
        plotting.learning_curves(HISTORY),
        plotting.code_scatter(numbers(50, 5), np.arange(50) % 20),
    ]
    for figure in figures:
        boxes = text_boxes(figure)
        width, height = figure.bbox.width, figure.bbox.height
        for i, (text, box) in enumerate(boxes):
            inside = (
                box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
            )
            assert inside, text
            assert not [t for t, other in boxes[i + 1 :] if box.overlaps(other)], text


def test_explained_variance_and_plane_are_those_of_the_principal_components():
    mixed = np.random.default_rng(0).normal(size=(200, 6)) @ numbers(6, 6)
    for codes in (mixed, mixed[:5]):  # taller than wide, and wider than tall
        points, fractions = plotting.principal_components(codes)
        own = PCA(2, svd_solver="full").fit(codes)
        np.testing.assert_allclose(fractions, own.explained_variance_ratio_, rtol=1e-9)
        theirs = own.transform(codes)
        np.testing.assert_allclose(np.abs(points), np.abs(theirs), atol=1e-9)
    axes = axes_of(plotting.code_scatter(mixed))
    share = PCA(2).fit(mixed).explained_variance_ratio_
    for n, name in enumerate((axes.get_xlabel(), axes.get_ylabel())):
        percent = f"{100 * share[n]:.1f} % of the variance"
        assert name == f"principal component {n + 1} ({percent})"


def test_codes_in_the_plane_are_drawn_where_they_are():
    codes, labels = numbers(30, 2), np.arange(30) % 3
    axes = axes_of(plotting.code_scatter(codes, labels))
    (points,) = axes.collections
    np.testing.assert_allclose(points.get_offsets(), codes)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z₁", "z₂")
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["0", "1", "2"]
    colors = points.get_facecolors()
    assert len(np.unique(colors, axis=0)) == 3
    np.testing.assert_array_equal(colors[labels == 1][0], colors[labels == 1][-1])


def test_many_labels_get_a_colour_bar_and_none_no_legend():
    codes = numbers(30, 2)
    main, bar = plotting.code_scatter(codes, np.arange(30)).axes
    assert bar.get_ylabel() == "label" and main.get_legend() is None
    assert axes_of(plotting.code_scatter(codes)).get_legend() is None
    with pytest.raises(ValueError, match="at most 20"):
        plotting.code_scatter(codes, [f"class {n}" for n in range(30)])


def test_codes_of_one_number_are_a_histogram_that_counts_all():
    codes, labels = numbers(300, 1), np.arange(300) % 3
    axes = axes_of(plotting.code_scatter(codes, labels))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z₁", "examples")
    outlines = [p for p in axes.patches if p.get_fill() is False]
    assert len(outlines) == 3
    width = (codes.max() - codes.min()) / 40
    for outline in outlines:
        x, y = outline.get_path().vertices.T
        area = abs(np.trapezoid(y, x))
        np.testing.assert_allclose(area, 100 * width, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_codes_can_be_drawn(count):
    drawn = draw(plotting.code_scatter(np.ones((count, 5))))
    assert (drawn < 0.9).any()


def test_the_latent_plane_has_z1_to_the_right_and_z2_upwards():
    def decode(codes):
        return ((codes + 3) / 6)[:, None, None, :] * np.ones((1, 4, 4, 1))

    def image(z):
        return np.concatenate([decode(z), 0 * decode(z)[..., :1]], -1)

    corners = np.repeat(np.array([[-3.0, -3.0], [3.0, 3.0]]), 100, axis=0)
    figure = plotting.latent_plane(image, corners, steps=5)
    axes = axes_of(figure)
    picture = axes.images[0].get_array()
    left, right = picture[-1, 0], picture[-1, -1]
    np.testing.assert_allclose(left, [0, 0, 0])
    np.testing.assert_allclose(right, [255, 0, 0])
    np.testing.assert_allclose(picture[0, 0], [0, 255, 0])
    # The outer images are centred at the limits.
    np.testing.assert_allclose(axes.get_xlim(), (-3.75, 3.75))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: plotting.learning_curves([]), "history"),
        (lambda: plotting.image_grid(np.zeros((3, 28, 28))), "images"),
        (lambda: plotting.walk(np.zeros((3, 28, 28, 1))), "images"),
        (
            lambda: plotting.image_pairs(numbers(2, 4, 4, 1), numbers(3, 4, 4, 1)),
            "inputs",
        ),
        (
            lambda: plotting.traversal(np.zeros((1, 2, 3, 4, 4, 1))),
            r"images must be of one example, .*traverse\(\.\.\.\)\[0\] is, got \(1, 2",
        ),
        (lambda: plotting.traversal(np.zeros((2, 3, 4, 4, 1)), dims=(1,)), "dims"),
        (
            lambda: plotting.traversal(np.zeros((2, 3, 4, 4, 1)), limits=(1, 0)),
            "limits",
        ),
        (lambda: plotting.code_scatter(np.zeros(3)), "codes"),
        (lambda: plotting.code_scatter(np.zeros((3, 2)), [1, 2]), "labels"),
        (
            lambda: plotting.restoration_grid(*[numbers(2, 4, 4, 1)] * 3, {"a": [1.0]}),
            "scores",
        ),
    ],
)
def test_what_cannot_be_drawn_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"^pictures are .* 'jaxae\[plot\]'$"):
        importlib.reload(plotting)


def test_the_library_has_it_without_a_further_import(monkeypatch):
    monkeypatch.delattr(jaxae, "plotting")
    assert jaxae.plotting is plotting
    with pytest.raises(AttributeError, match="'jaxae' has no attribute 'plots'"):
        _ = jaxae.plots


def test_the_library_leaves_matplotlib_and_its_global_state_alone():
    code = (
        "import io, sys, jaxae; print('matplotlib' in sys.modules);"
        "import numpy as np, matplotlib as m; before = m.rcParams.copy();"
        "jaxae.plotting.code_scatter(np.eye(4)).savefig(io.BytesIO());"
        "print('matplotlib.pyplot' in sys.modules, before == m.rcParams.copy())"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert printed.split() == ["False", "False", "True"]


def test_code_usage_ranks_the_codes_that_occur():
    figure = plotting.code_usage([[0, 6, 2, 0], [1, 1, 1, 1]])
    (axes,) = figure.axes
    first, second = (patch.get_data() for patch in axes.patches)
    np.testing.assert_allclose(first.values, [0.75, 0.25])
    np.testing.assert_allclose(second.values, [0.25] * 4)
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["codebook 1: 2 of 4 codes used", "codebook 2: 4 of 4 codes used"]
    with pytest.raises(ValueError, match="counts must be"):
        plotting.code_usage([[0, 0]])


def test_image_rows_have_their_labels():
    images = np.random.default_rng(0).uniform(size=(2, 3, 4, 4, 1))
    labels = {"row_labels": ["a", "b"], "column_labels": ["x", "y", "z"]}
    axes = plotting.image_rows(images, **labels).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["x", "y", "z"]
    with pytest.raises(ValueError, match="row_labels must be 2 labels or none"):
        plotting.image_rows(images, row_labels=["a"])
