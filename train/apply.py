"""`python -m train.apply RUN INPUT --task TASK --out PATH`: use a trained model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tyro

from train.commands import parse

if TYPE_CHECKING:
    from jaxae.models.family import Family
    from jaxae.recipe import Model
    from jaxae.views import Part, View
    from train.data.types import Split

Task = Literal["encode", "reconstruct", "repair", "impute", "score", "sample"]


@dataclass(frozen=True)
class Arguments:
    """Uses the best model of a run on your own images."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    input: tyro.conf.Positional[Path | None] = None
    """FILE.npy, FILE.npz or a FOLDER of PNG and JPEG, grey or in colours whatever the
    model was trained on; sampling does not look at it."""
    task: Task = "reconstruct"
    """encode: to codes. reconstruct: through the code and back. repair: remove noise,
    or fill the holes of --mask; images of another size than the model's in tiles that
    overlap. impute: fill what is missing with its mean given the rest, by importance
    weights, for models with a p(x). score: a number for each, high where it fits badly,
    -log p(x) in nats by importance sampling; of models without a p(x) the mean squared
    error of a value that comes back; both of x as the model sees it, which is scaled,
    binarised and damaged where training did so. sample: new images."""
    out: Path = Path("out.npy")
    """Where to: FILE.npy for an array, FILE.npz for the codes of a model with several
    latents, or a new folder for PNG images."""
    missing: str | None = None
    """What is not known of the input, as in training: nan, or a FILE of masks; a .npz
    file may have it itself, and `inputs` that the encoder sees in place of x."""
    mask: Path | None = None
    """For repair and impute: images as INPUT, white where pixels are missing and black
    elsewhere (or 1 and 0); of greys in between the nearer counts, as JPEG makes
    them."""
    image_size: tuple[int, int] | None = None
    """Height and width to resize the images to."""
    label: int | None = None
    """The label of all images, for a model that is shown labels; if they differ, give
    them in --conditions."""
    conditions: Path | None = None
    """FILE.npz of whatever the model is shown of each image, under the names that it
    had in training; other arrays in it are not looked at."""
    count: int = 64
    """For sample: how many."""
    num_samples: int = 500
    """For impute, and score where there is a p(x): importance samples for each
    example."""
    seed: int = 0
    """For sample, impute and score: everything random follows from it."""


def main() -> None:
    """Parses first: help and wrong options should not wait for JAX to start."""
    arguments = parse(Arguments, "python -m train.apply")

    from train.program import program

    with program():
        apply(arguments)


def apply(arguments: Arguments) -> None:
    """Reads, computes, writes.

    Raises:
        ArgumentError: The arguments do not go together.
        RunError: There is no run.
        CheckpointError: It has no checkpoint, or one of another architecture.
        DataError: The input cannot be read.
        OSError: The output cannot be written.
    """
    import jax

    from train.data import read_examples
    from train.run import open_run, restore_model
    from train.writing import write

    _check(arguments)
    model, _ = restore_model(open_run(arguments.run))
    view = model.module.view
    given, what = _of_the_file(arguments, model.module), str(arguments.task)
    source = None if arguments.task == "sample" else arguments.input
    if source is None:
        beside = _beside(arguments, view, given, arguments.count)
        result = _sampled(arguments, model, beside)
    else:
        found = read_examples(source, arguments.image_size, arguments.missing)
        beside = _beside(arguments, view, given, len(found.images))
        if arguments.task == "score":
            result, what = _scores(arguments, model, found, beside)
        elif arguments.task == "impute":
            result = _imputed(arguments, model, found, beside)
        else:
            result = _through(arguments, model, found, beside)
    write(arguments.out, result)
    print(f"{what}: {jax.tree.leaves(result)[0].shape[0]} -> {arguments.out}")


def _sampled(arguments: Arguments, model: "Model", beside: dict[str, Any]) -> Any:
    import jax

    import jaxae

    key = jax.random.key(arguments.seed)
    return jaxae.sample(model, key, arguments.count, **beside)


def _through(
    arguments: Arguments, model: "Model", found: "Split", beside: dict[str, Any]
) -> Any:
    """The codes of what the encoder sees, or what is made of them."""
    import jaxae

    shape = model.module.shape_seen
    images, gaps = found.images, found.missing
    if found.inputs is not None:  # of which nothing is missing
        images, gaps = found.inputs, None
    images = _with_channels(images, shape)
    if arguments.task != "repair":
        function = jaxae.encode if arguments.task == "encode" else jaxae.reconstruct
        return function(model, images, missing=gaps, **beside)
    fits = images.shape[1:] == shape or len(shape) != 3 or images.ndim != 4
    repair = jaxae.repair if fits else jaxae.repair_in_tiles
    return repair(model, images, missing=_holes(arguments, gaps), **beside)


def _imputed(
    arguments: Arguments, model: "Model", found: "Split", beside: dict[str, Any]
) -> Any:
    """The examples with the means of what is missing.

    Raises:
        ArgumentError: Nothing says what is missing, or two do, or there is no p(x).
    """
    import jax

    import jaxae
    from jaxae.errors import ensure, given
    from jaxae.evaluation import is_generative

    other = "--task must be repair, not impute, for a model without a p(x)"
    ensure(is_generative(model.recipe), other)
    said = "--missing or --mask must be given: INPUT does not say what is missing"
    holes = given(_holes(arguments, found.missing), said)
    fields = _explained(model, found) | {"missing": holes}
    key, count = jax.random.key(arguments.seed), arguments.num_samples
    return jaxae.impute(model, **fields, key=key, num_samples=count, **beside)


def _scores(
    arguments: Arguments, model: "Model", found: "Split", beside: dict[str, Any]
) -> tuple[Any, str]:
    """A number for each example, and what it is in words."""
    import jax

    from jaxae.evaluation import is_generative, nll_nats, reconstruction_quality

    data = _explained(model, found) | beside
    key, count = jax.random.key(arguments.seed), arguments.num_samples
    if not is_generative(model.recipe):
        error = reconstruction_quality(model, data, key)["mse"]
        return error, "score, the mean squared error of a value as seen"
    scores = nll_nats(model, data, key, num_samples=count)
    return scores, f"score, -log p(x) in nats by {count} samples"


def _explained(model: "Model", found: "Split") -> dict[str, np.ndarray]:
    """x, which the model has to explain, and what is said of it, as for `fit`."""
    module = model.module
    fields = {"x": _with_channels(found.images, module.shape)}
    if found.inputs is not None:
        fields["inputs"] = _with_channels(found.inputs, module.shape_seen)
    if found.missing is not None:
        fields["missing"] = found.missing
    return fields


def _with_channels(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pictures as the model knows them, in grey or in colours."""
    from train.data.images import with_channels

    pictures = images.ndim == 4 and len(shape) == 3
    return with_channels(images, shape[-1]) if pictures else images


def _holes(arguments: Arguments, gaps: np.ndarray | None) -> np.ndarray | None:
    """What is to be filled: what INPUT says itself to be missing, or --mask.

    Raises:
        ArgumentError: Both are there.
    """
    from jaxae.errors import ensure

    mask = missing(arguments.mask, arguments.image_size)
    own = "--mask must be left out: INPUT says itself what is missing"
    ensure(mask is None or gaps is None, own)
    return gaps if mask is None else mask


def _check(arguments: Arguments) -> None:
    from jaxae.checks import check_count
    from jaxae.errors import ArgumentError, require

    task, out, file = arguments.task, arguments.out, arguments.conditions
    check_count("--count", arguments.count)
    check_count("--num-samples", arguments.num_samples)
    named = file is None or file.suffix.lower() == ".npz"
    require(named, "--conditions", str(file), "a .npz file of named arrays")
    if task != "sample" and arguments.input is None:
        raise ArgumentError(f"INPUT is missing, the images to {task}")
    if task not in ("repair", "impute") and arguments.mask is not None:
        only = "only to --task repair and --task impute"
        raise ArgumentError(f"--mask is of no use to {task}, {only}")
    require(not out.exists(), "--out", str(out), "a path that does not exist yet")
    is_array = out.suffix in (".npy", ".npz")
    codes = "a .npy file, or .npz, for codes"
    require(is_array or task != "encode", "--out", str(out), codes)
    scores = "a .npy file for scores"
    require(out.suffix == ".npy" or task != "score", "--out", str(out), scores)


def missing(path: Path | None, size: tuple[int, int] | None) -> np.ndarray | None:
    """True where masks are white, of whole pixels; None without any."""
    from train.data import read_images
    from train.data.fields import white

    if path is None:
        return None
    masks = read_images(path, size)
    if masks.ndim == 4:
        masks = masks.max(axis=-1, keepdims=True)
    return white(masks, "--mask")


def _looking(task: Task, module: "Family") -> tuple["Part", ...]:
    """The parts of a model that a task needs."""
    if task == "sample":
        return ("decoder", "prior")
    if task in ("impute", "score"):
        return ("encoder", "decoder", "prior")
    encoding = module.encoded_with
    return encoding if task == "encode" else (*encoding, "decoder")


def _of_the_file(arguments: Arguments, module: "Family") -> dict[str, np.ndarray]:
    """What the task needs to be shown and --label does not say, by name.

    Raises:
        ArgumentError: Something is not given, or an option is of no use to the model.
    """
    from jaxae.errors import ensure
    from train.data.arrays import load_conditions

    view, label, file = module.view, arguments.label, arguments.conditions
    shown = f"the model is shown {', '.join(view.fields) or 'nothing beside x'}"
    useless = f"--label must be left out: {shown}"
    ensure(label is None or "label" in view.fields, useless)
    ensure(file is None or view.fields, f"--conditions must be left out: {shown}")
    needed = [*view.shown_to(*_looking(arguments.task, module))]
    needed = [name for name in needed if name != "label" or label is None]
    found = {} if file is None else load_conditions(file, needed)
    absent = [name for name in needed if name not in found]
    others = ", ".join(name for name in absent if name != "label")
    asked = ["--label must be given"] if "label" in absent else []
    if others:
        asked.append(f"--conditions {file or 'FILE.npz'} must have {others}")
    ensure(not absent, f"{' and '.join(asked)}: {shown}")
    return found


def _beside(
    arguments: Arguments, view: "View", given: dict[str, np.ndarray], count: int
) -> dict[str, Any]:
    """What is given, checked, and the label of all images, by name.

    Raises:
        ArgumentError: There are not as many rows, or not the right values.
    """
    from jaxae.errors import require
    from jaxae.inputs import check_condition
    from train.data.images import as_labels

    file, label, fields = arguments.conditions, arguments.label, view.fields
    called = {name: f"--conditions {file}: {name}" for name in given}
    where = "--count" if arguments.task == "sample" else "the images in INPUT"
    row = f"of shape [{count}, ...], a row for each of {where}"
    for name, values in given.items():
        require(values.shape[:1] == (count,), called[name], values.shape, row)
    if "label" in given:
        labels = as_labels(given["label"], count, called["label"])
        given = {**given, "label": labels}
    if label is not None:
        given = {**given, "label": np.full(count, label)}
        called["label"] = "--label"
    return {
        name: check_condition(values, fields[name], count, called[name])
        for name, values in given.items()
    }


if __name__ == "__main__":
    main()
