"""`python -m train.apply RUN INPUT --task TASK --out PATH`: use a trained model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tyro

from train.commands import parse

if TYPE_CHECKING:
    from jaxae.models.family import Family
    from jaxae.views import Part, View

Task = Literal["encode", "reconstruct", "repair", "sample"]


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
    overlap. sample: new images."""
    out: Path = Path("out.npy")
    """Where to: FILE.npy for an array, FILE.npz for the codes of a model with several
    latents, or a new folder for PNG images."""
    missing: str | None = None
    """What is not known of the input, as in training: nan, or a FILE of masks; a .npz
    file may have it itself, and `inputs` that the encoder sees in place of x."""
    mask: Path | None = None
    """For repair: images as INPUT, white where pixels are missing and black elsewhere
    (or 1 and 0); of greys in between the nearer counts, as JPEG makes them."""
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
    seed: int = 0
    """For sample."""


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

    import jaxae
    from jaxae.errors import ensure
    from train.data import read_examples
    from train.data.images import with_channels
    from train.run import open_run, restore_model

    _check(arguments)
    task, out = arguments.task, arguments.out
    source = None if task == "sample" else arguments.input
    model, _ = restore_model(open_run(arguments.run))
    view = model.module.view
    given = _of_the_file(arguments, model.module)
    if source is None:
        key = jax.random.key(arguments.seed)
        beside = _beside(arguments, view, given, arguments.count)
        result = jaxae.sample(model, key, arguments.count, **beside)
    else:
        found = read_examples(source, arguments.image_size, arguments.missing)
        images, gaps = found.images, found.missing
        if found.inputs is not None:  # of which nothing is missing
            images, gaps = found.inputs, None
        shape = model.module.shape_seen
        if images.ndim == 4 and len(shape) == 3:
            images = with_channels(images, shape[-1])
        beside = _beside(arguments, view, given, len(images))
        if task == "repair":
            mask = missing(arguments.mask, arguments.image_size)
            own = "--mask must be left out: INPUT says itself what is missing"
            ensure(mask is None or gaps is None, own)
            mask = gaps if mask is None else mask
            fits = images.shape[1:] == shape or len(shape) != 3 or images.ndim != 4
            repair = jaxae.repair if fits else jaxae.repair_in_tiles
            result = repair(model, images, missing=mask, **beside)
        else:
            function = jaxae.encode if task == "encode" else jaxae.reconstruct
            result = function(model, images, missing=gaps, **beside)
    write(out, result)
    print(f"{task}: {jax.tree.leaves(result)[0].shape[0]} -> {out}")


def _check(arguments: Arguments) -> None:
    from jaxae.checks import check_count
    from jaxae.errors import ArgumentError, require

    task, out, file = arguments.task, arguments.out, arguments.conditions
    check_count("--count", arguments.count)
    named = file is None or file.suffix.lower() == ".npz"
    require(named, "--conditions", str(file), "a .npz file of named arrays")
    if task != "sample" and arguments.input is None:
        raise ArgumentError(f"INPUT is missing, the images to {task}")
    if task != "repair" and arguments.mask is not None:
        raise ArgumentError(f"--mask is of no use to {task}, only to --task repair")
    require(not out.exists(), "--out", str(out), "a path that does not exist yet")
    is_array = out.suffix in (".npy", ".npz")
    codes = "a .npy file, or .npz, for codes"
    require(is_array or task != "encode", "--out", str(out), codes)


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


FILES = {".npz", ".png", ".jpg", ".jpeg", ".gif", ".jae"}
"""Suffixes that no folder has."""


def write(out: Path, result: Any) -> None:
    """An array or several as one file, or images as numbered PNGs in a new folder.

    Raises:
        ArgumentError: `out` is of a kind that the values do not go into.
    """
    from jaxae.errors import require

    several = isinstance(result, tuple)
    fits = several == (out.suffix == ".npz")
    require(fits, "--out", str(out), "a .npz file for several latents, and only then")
    if several or out.suffix == ".npy":
        out.parent.mkdir(parents=True, exist_ok=True)
        np.savez(out, *result) if several else np.save(out, result)
        return
    values = np.asarray(result)
    check_place(out, values.shape)
    write_levels(out, np.round(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8))


def check_place(out: Path, shape: tuple[int, ...]) -> None:
    """Raises ArgumentError unless values of this shape go into `out`: PNGs or .npy."""
    from jaxae.errors import require

    images = len(shape) == 4 and shape[-1] in (1, 3)
    images = images and out.suffix.lower() not in FILES
    expected = f"a .npy file{' or a new folder' * images} for values of {shape[1:]}"
    require(images or out.suffix == ".npy", "--out", str(out), expected)


def write_levels(out: Path, levels: np.ndarray) -> None:
    """Bytes as an array, or as numbered PNGs in a new folder."""
    from PIL import Image

    if out.suffix == ".npy":
        out.parent.mkdir(parents=True, exist_ok=True)
        np.save(out, levels)
        return
    out.mkdir(parents=True)
    for number, image in enumerate(levels):
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
            out / f"{number:05d}.png"
        )


if __name__ == "__main__":
    main()
