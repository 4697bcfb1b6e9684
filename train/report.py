"""The report of a run: its pictures, and one page that holds them all.

The page has no script and asks no server for anything; it can be mailed as it is.
"""

import base64
import html
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

import jaxae
from jaxae import plotting
from jaxae.corruptions import identity
from jaxae.evaluation import mean_squared_error, psnr_db
from jaxae.evaluation.quality import mean_reconstruction
from jaxae.training.batch import model_batch
from train.data.types import Split
from train.presets import PRESETS

# Images side by side, and rows of samples and of walks. One number for all, since every
# further number of images that are encoded or decoded has to be compiled.
SIDE = 10
MAX_CODES = 5_000  # in the scatter plot
MAX_CODE_VALUES = 2**23  # and in memory for it


class Picture(NamedTuple):
    """A figure with the name of its file and what the page says of it."""

    name: str
    title: str
    caption: str
    figure: Figure


def write_report(
    run: Path,
    model: jaxae.Model,
    test: Split,
    *,
    config: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    result: Mapping[str, Any],
    key: jax.Array,
) -> None:
    """Writes `report.html` and its pictures (PNG) into the folder of a run.

    Args:
        run: The folder, which exists.
        model: The trained model.
        test: The images to show, the first ones of them, and to encode.
        config: What the run was started with: the fields of `train.config.Config`,
            and "preset", which the command to run it again starts with.
        history: As in `jaxae.Fit.history`.
        result: The final numbers by name; None where there is none.
        key: A typed key: damage, binarisation and samples follow from it.
    """
    pictures = list(_pictures(model, test, history, key))
    figures = [_write_picture(run, picture) for picture in pictures]
    title = _title(model, config)
    command = html.escape(rerun_command(config))
    page = _PAGE.substitute(
        title=html.escape(title),
        summary=html.escape(_summary(model, test, config, history)),
        results=_results_table(result),
        pictures="\n".join(figures),
        command=_COMMAND.substitute(command=command) if command else "",
        config=_config_table(config),
    )
    (run / "report.html").write_text(page, encoding="utf-8")


# The pictures.

_model_batch = jax.jit(model_batch, static_argnums=0)
_mean_reconstruction = jax.jit(mean_reconstruction, static_argnums=0)


def _pictures(
    model: jaxae.Model,
    test: Split,
    history: Sequence[Mapping[str, Any]],
    key: jax.Array,
) -> Iterator[Picture]:
    """Those that the family and the data allow."""
    key_damage, key_sample = jax.random.split(key)
    recipe = model.recipe
    yield _curves(history)
    if len(recipe.model.shape) == 3:
        images = jnp.asarray(test.images[:SIDE])
        batch = _model_batch(recipe, {"x": images}, key_damage)
        if recipe.corruption is not identity:
            yield _restorations(model, batch, key_damage)
        yield _reconstructions(model, batch["x"])
        if hasattr(recipe.model.bottleneck, "prior"):
            yield _samples(model, key_sample)
        if len(test.images) > 1:
            yield _interpolations(model, test.images)
    yield from _codes(model, test)


def _curves(history: Sequence[Mapping[str, Any]]) -> Picture:
    caption = (
        "What training minimises, in nats per example; lower is better. The value for "
        "training is the mean over the epoch, while the weights still change; that for "
        "validation is computed after the epoch, on images the weights never saw."
    )
    return Picture(
        "learning_curves", "Learning curves", caption, plotting.learning_curves(history)
    )


def _reconstructions(model: jaxae.Model, x: Array) -> Picture:
    caption = (
        f"The first {len(x)} images of the test set, undamaged and as the model is to "
        "explain them (upper row), and what is left of them after the code (lower "
        "row): the mean of p(x | z)."
    )
    if model.recipe.model.mask_channel:
        caption += " The model was trained to fill holes; here it is shown none."
    figure = plotting.image_pairs(x, jaxae.reconstruct(model, x))
    return Picture("reconstructions", "Reconstructions", caption, figure)


def _samples(model: jaxae.Model, key: jax.Array) -> Picture:
    caption = (
        "New images: codes drawn from the prior p(z), none of which comes from an "
        "image, then the mean of p(x | z). They are as they were drawn, not chosen."
    )
    images = jaxae.sample(model, key, SIDE**2)
    figure = plotting.image_grid(images, SIDE)
    return Picture("samples", "Samples from the prior", caption, figure)


def _interpolations(model: jaxae.Model, images: np.ndarray) -> Picture:
    caption = (
        "Every row walks in equal steps on a straight line from the code of one test "
        "image to that of another. In a well-shaped latent space all images on the way "
        "look real."
    )
    count = min(SIDE, len(images) // 2)
    start, end = images[:count], images[count : 2 * count]
    figure = plotting.walk(jaxae.interpolate(model, start, end, steps=SIDE))
    return Picture("interpolations", "Walks through the latent space", caption, figure)


def _restorations(
    model: jaxae.Model, batch: Mapping[str, Array], key: jax.Array
) -> Picture:
    recipe, variables = model
    target, damaged, mask = batch["x"], batch["inputs"], batch.get("mask")
    restored = _mean_reconstruction(recipe, variables, batch, key)
    caption = (
        "Test images, damaged as in training (upper row), what the model makes of them "
        "(middle row), and the undamaged images, which it did not see (lower row). "
    )
    if mask is None:
        caption += "PSNR is the peak signal-to-noise ratio; higher is better."
        scores = {
            "PSNR damaged, dB": psnr_db(damaged, target),
            "PSNR restored, dB": psnr_db(restored, target),
        }
    else:
        restored = jnp.where(mask, restored, damaged)
        caption += (
            "The removed pixels are orange; only they are the model's. The squared "
            "error is the mean over them; lower is better."
        )
        scores = {
            "squared error, damaged": hole_error(damaged, target, mask),
            "squared error, restored": hole_error(restored, target, mask),
        }
    figure = plotting.restoration_grid(damaged, restored, target, scores, mask=mask)
    return Picture("restorations", "Restorations", caption, figure)


def hole_error(
    x: Float[Array, "b ..."], target: Float[Array, "b ..."], mask: Array
) -> Float[Array, " b"]:
    """The mean squared error over the values that the mask removes."""
    removed = jnp.broadcast_to(mask, x.shape).reshape(len(x), -1).mean(axis=-1)
    return mean_squared_error(jnp.where(mask, x, target), target) / removed


def _codes(model: jaxae.Model, test: Split) -> Iterator[Picture]:
    size = jaxae.encode(model, test.images[:SIDE])[0].size
    count = min(len(test.images), MAX_CODES, max(1, MAX_CODE_VALUES // size))
    codes = np.asarray(jaxae.encode(model, test.images[:count])).reshape(count, -1)
    labels = None if test.labels is None else test.labels[:count]
    shown = {1: "a histogram", 2: "in the plane"}.get(
        size, "by their first two principal components"
    )
    caption = f"The codes of {count:,} test examples, {shown}. " + (
        "The colours are the labels, which the model was never told: classes that lie "
        "apart were found without them."
        if labels is not None
        else "Clusters are kinds of examples that the model tells apart."
    )
    figure = plotting.code_scatter(codes, labels)
    yield Picture("codes", "The latent space", caption, figure)
    if size == 2 and len(model.recipe.model.shape) == 3:
        yield _plane(model, codes)


def _plane(model: jaxae.Model, codes: np.ndarray) -> Picture:
    caption = (
        "The same plane from the other side: the image that every code stands for, "
        "over the range of 98 % of the test images along each axis."
    )
    low, high = np.quantile(codes, (0.01, 0.99), axis=0)
    limits = ((low[0], high[0]), (low[1], high[1]))
    figure = plotting.latent_plane(lambda z: jaxae.decode(model, z), limits)
    return Picture("latent_plane", "Decoded latent plane", caption, figure)


# The words.


def _family(model: jaxae.Model) -> str:
    recipe = model.recipe
    damaged = recipe.corruption is not identity
    kind = "inpainting" if recipe.model.mask_channel else "denoising"
    words = [kind] * damaged
    words += ["variational"] * hasattr(recipe.model.bottleneck, "prior")
    return " ".join([*words, "auto-encoder"])


def _title(model: jaxae.Model, config: Mapping[str, Any]) -> str:
    family = _family(model)
    family = family[0].upper() + family[1:]
    return f"{family} on {config['data']}" if "data" in config else family


def _summary(
    model: jaxae.Model,
    test: Split,
    config: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> str:
    parameters = sum(p.size for p in jax.tree.leaves(model.variables["params"]))
    family = _family(model)
    article = "An" if family[0] in "aeiou" else "A"
    source = f" on {config['data']} ({_shape(model)})" if "data" in config else ""
    seconds = sum(row.get("seconds") or 0.0 for row in history)
    epochs = f"{len(history)} epoch" + "s" * (len(history) != 1)
    return (
        f"{article} {family} with {parameters:,} parameters, trained{source} for "
        f"{epochs}" + f", in {seconds:,.3g} seconds" * (seconds > 0) + ". "
        f"{_code_in_words(model, test)} {_progress(history)} The numbers and pictures "
        f"below are of the test set: {len(test.images):,} examples that had no part in "
        "training."
    )


def _shape(model: jaxae.Model) -> str:
    shape = model.recipe.model.shape
    if len(shape) != 3:
        return f"vectors of {shape[0]:,} values"
    channels = {1: "grey", 3: "RGB"}.get(shape[2], f"{shape[2]}-channel")
    return f"{channels} images of {shape[0]}×{shape[1]} pixels"


def _code_in_words(model: jaxae.Model, test: Split) -> str:
    module = model.recipe.model
    size = jaxae.encode(model, test.images[:SIDE])[0].size
    likelihood = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(module.likelihood).__name__)
    return (
        f"Its code of {size:,} number{'s' * (size != 1)} stands for the "
        f"{int(np.prod(module.shape)):,} values of an example; what the decoder says "
        f"of them, p(x | z), is {likelihood}."
    )


def _progress(history: Sequence[Mapping[str, Any]]) -> str:
    first, last = history[0]["loss"], history[-1]["loss"]
    text = f"The training loss went from {_number(first)} to {_number(last)} nats"
    known = [row for row in history if row.get("validation_loss") is not None]
    if not known:
        return f"{text}."
    best = min(known, key=lambda row: row["validation_loss"])
    lowest, epoch = _number(best["validation_loss"]), best["epoch"]
    return (
        f"{text}; the validation loss was lowest, {lowest} nats, after epoch {epoch}."
    )


# The tables. Of every known number: its name, its unit, how to read it.
_KNOWN = {
    "elbo_nats": ("evidence lower bound (ELBO)", "nats per image", "higher is better"),
    "rate_nats": (
        "rate, KL(q(z | x) || p(z))",
        "nats per image",
        "what the code costs",
    ),
    "distortion_nats": (
        "distortion, −log p(x | z)",
        "nats per image",
        "what the code leaves unsaid",
    ),
    "nll_nats": ("negative log-likelihood", "nats per image", "lower is better"),
    "nll_samples": ("importance samples for it", "per image", ""),
    "bits_per_dim": ("negative log-likelihood", "bits per value", "lower is better"),
    "active_units": ("active latent dimensions", "", "whose mean varies by over 0.01"),
    "mse": ("squared error", "per value, of [0, 1]", "lower is better"),
    "psnr_db": ("peak signal-to-noise ratio", "dB", "higher is better"),
    "ssim": ("structural similarity", "at most 1", "higher is better"),
    "psnr_damaged_db": ("PSNR of the damaged images", "dB", "before restoration"),
    "psnr_gain_db": ("PSNR gained", "dB", "higher is better"),
    "hole_mse": ("squared error in the holes", "per value", "lower is better"),
    "hole_mse_mean_fill": (
        "the same, filled with the mean image",
        "per value",
        "the score to beat",
    ),
    "validation_loss": ("validation loss", "nats per image", "of the best epoch"),
    "best_epoch": ("best epoch", "", "counted from 1"),
    "train_seconds": ("training time", "seconds", "without validation"),
    "images_per_second": ("training speed", "images per second", ""),
}
_UNITS = {"nats": "nats per image", "db": "dB", "seconds": "seconds"}


def _results_table(result: Mapping[str, Any]) -> str:
    rows = []
    for name, value in _flat(result):
        if value is not None:
            words = name.replace("_", " ")
            unit = _UNITS.get(name.rsplit("_", 1)[-1], "")
            label, unit, note = _KNOWN.get(name, (words, unit, ""))
            reading = "; ".join(filter(None, (unit, note)))
            rows.append(_row(("th", label), ("td", _number(value)), ("td", reading)))
    return "\n".join(rows)


def _config_table(config: Mapping[str, Any]) -> str:
    return "\n".join(
        _row(("th", name), ("td", _value(value))) for name, value in _flat(config)
    )


def _row(*cells: tuple[str, str]) -> str:
    inside = (f"<{tag}>{html.escape(text)}</{tag}>" for tag, text in cells)
    return f"<tr>{''.join(inside)}</tr>"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _number(value: Any) -> str:
    """Five digits, or all before the decimal point; no exponent unless tiny."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _value(value)
    if isinstance(value, int) or 1e4 <= abs(value) < float("inf"):
        return f"{value:,.0f}"
    return f"{value:.5g}"


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "–"
    return str(value)


def rerun_command(config: Mapping[str, Any]) -> str:
    """How to run it again: the preset and what differs from it; "" without a preset."""
    preset = config.get("preset")
    if preset not in PRESETS:
        return ""
    default = dict(_flat(asdict(PRESETS[preset][1])))
    words = ["python", "-m", "train", preset]
    for name, value in _flat(config):
        # Where a run lies is not what it is.
        if name in default and name not in ("out", "overwrite"):
            words += _option(name, value, default[name])
    return shlex.join(words)


def _option(name: str, value: Any, default: Any) -> list[str]:
    value, default = (tuple(v) if isinstance(v, list) else v for v in (value, default))
    flag = name.replace("_", "-")
    *path, last = flag.split(".")
    if value == default:
        return []
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--{'.'.join([*path, f'no-{last}'])}"]
    return [f"--{flag}", *map(str, value if isinstance(value, tuple) else [value])]


# The page.


def _write_picture(run: Path, picture: Picture) -> str:
    """Saves the PNG, and returns its part of the page."""
    path = run / f"{picture.name}.png"
    picture.figure.savefig(path, metadata={"Title": picture.title})
    pixels = picture.figure.get_size_inches() * picture.figure.dpi
    # Two pixels of the file are one of the page: sharp on dense screens.
    width, height = (round(side / 2) for side in pixels)
    return _FIGURE.substitute(
        title=html.escape(picture.title),
        caption=html.escape(picture.caption),
        data=base64.b64encode(path.read_bytes()).decode("ascii"),
        width=width,
        height=height,
    )


_FIGURE = Template("""\
<section>
<h2>$title</h2>
<figure>
<div class="card"><img src="data:image/png;base64,$data" alt="$title"
 width="$width" height="$height"></div>
<figcaption>$caption</figcaption>
</figure>
</section>""")

_COMMAND = Template("""\
<section>
<h2>Run it again</h2>
<pre><code>$command</code></pre>
</section>""")

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root {
  color-scheme: light dark;
  --paper: #f6f7f9; --card: #fff; --ink: #1c2026; --soft: #5b6470; --line: #dfe3e8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --card: #1d2127; --ink: #e7eaee; --soft: #9aa4b0; --line: #333a43;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, sans-serif;
}
main {
  max-width: 84rem; margin: 0 auto; padding: clamp(1rem, 4vw, 3rem);
  columns: 34rem 2; column-gap: 2.5rem;
}
section { break-inside: avoid; margin-bottom: 2.2rem; }
header { column-span: all; margin-bottom: 2.2rem; }
header p { max-width: 46rem; }
h1 { font-size: clamp(1.5rem, 4vw, 2.2rem); line-height: 1.2; margin: 0 0 .8rem; }
h2 { font-size: 1.15rem; margin: 0 0 .6rem; }
p { margin: 0; }
figure { margin: 0; }
figcaption {
  color: var(--soft); font-size: .9rem; margin-top: .6rem; max-width: 44rem;
}
.card, .scroll, pre {
  border: 1px solid var(--line); border-radius: .6rem; overflow-x: auto;
}
.card { background: #fff; padding: .4rem; }
.card img { display: block; margin: auto; max-width: 100%; height: auto; }
.scroll { background: var(--card); }
pre { background: var(--card); margin: 0; padding: .8rem 1rem; font-size: .9rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: .4rem .8rem; text-align: left; vertical-align: baseline; }
tr + tr > * { border-top: 1px solid var(--line); }
th { font-weight: 500; }
.results td:nth-child(2) {
  text-align: right; font-weight: 600; font-variant-numeric: tabular-nums;
  white-space: nowrap;
}
.results td:nth-child(3) { color: var(--soft); }
.config td { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
</style>
</head>
<body>
<main>
<header>
<h1>$title</h1>
<p>$summary</p>
</header>
<section>
<h2>Results</h2>
<div class="scroll"><table class="results">
$results
</table></div>
</section>
$pictures
$command
<section>
<h2>Configuration</h2>
<div class="scroll"><table class="config">
$config
</table></div>
</section>
</main>
</body>
</html>
""")
