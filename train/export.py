"""`python -m train.export RUN`: the model as files that run with JAX alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from train.commands import parse

if TYPE_CHECKING:
    from jaxae.models.family import Family
    from jaxae.recipe import Model
    from jaxae.saving.programs import Part
    from jaxae.views import Field

Platform = Literal["cpu", "cuda", "rocm", "tpu"]

ABOUT = "about.json"

_RESULT = {
    "encoder": "the codes, without noise",
    "decoder": "the mean {x} of the codes, in the units of x",
    "model": "the reconstructed {x}, in the units of x: the decoder after the encoder",
}
_USAGE = (
    "import pathlib, jax, jax.export; "
    "part = jax.export.deserialize(pathlib.Path(FILE).read_bytes()); "
    "result = part.call(FIRST_INPUT, NAME_OF_FURTHER_INPUT=...)"
)


@dataclass(frozen=True)
class Arguments:
    """Writes the best model of a run as files that run with JAX alone.

    encoder.jax, decoder.jax and model.jax, which is both in a row, take any number of
    examples; about.json says what goes in and comes out.
    """

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    out: Path | None = None
    """Where to; RUN/export if not given. Files of these names are replaced."""
    platforms: tuple[Platform, ...] = ("cpu", "cuda", "tpu")
    """What the files shall run on."""


def main() -> None:
    """Parses first: help and wrong options should not wait for JAX to start."""
    arguments = parse(Arguments, "python -m train.export")

    from train.program import program

    with program():
        export(arguments)


def export(arguments: Arguments) -> None:
    """Restores, exports, writes.

    Raises:
        RunError: There is no run.
        CheckpointError: It has no checkpoint, or one of another architecture.
        ArgumentError: There are no platforms.
        OSError: The files cannot be written.
    """
    import jax

    import jaxae.saving.programs
    from train.run import open_run, restore_model, write_json

    run = open_run(arguments.run)
    model, epoch = restore_model(run)
    parts = jaxae.saving.programs.export(model, platforms=arguments.platforms)
    about = {
        "preset": run.preset,
        "epoch": epoch,
        "platforms": list(arguments.platforms),
        "jax_version": jax.__version__,
        "requires": ["jax", "flatbuffers"],
        "usage": _USAGE,
        "parts": {name: describe(name, part, model) for name, part in parts.items()},
    }
    out = arguments.out or run.path / "export"
    out.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        file = out / f"{name}.jax"
        file.write_bytes(part.serialized)
        print(f"{file}: {len(part.serialized):,} bytes")
    write_json(out / ABOUT, about)
    print(f"inputs and outputs: {out / ABOUT}")


def describe(name: str, part: "Part", model: "Model") -> dict[str, Any]:
    """What goes into a part, in its order, and what comes out; b is any number."""
    meaning = _meanings(model.module)
    inputs = [
        {"name": field, **_form(shapes), "meaning": meaning[field]}
        for field, shapes in part.inputs.items()
    ]
    result = _RESULT[name].format(x=_kind(model.module.shape))
    output = {**_form(part.outputs), "meaning": result}
    return {"file": f"{name}.jax", "inputs": inputs, "output": output}


def _meanings(family: "Family") -> dict[str, str]:
    """What a part may take, by name."""
    kind = _kind(family.shape_seen)
    levels = "; bytes divided by 255, so in [0, 1]" if kind == "images" else ""
    whole = f", whole numbers below {family.num_codes}" if family.num_codes else ""
    missing = "pixels" if kind == "images" else "values"
    fields = family.view.fields.items()
    return {
        "x": f"{kind} in the units of the data, as they are stored{levels}",
        "codes": f"what the encoder returns{whole}",
        "missing": f"True where {missing} are missing; all False if there are none",
        **{name: _condition(name, form, kind) for name, form in fields},
    }


def _condition(name: str, form: "Field", kind: str) -> str:
    what = f"the labels of the {kind}" if name == "label" else f"{name!r} of the data"
    numbers = f"whole numbers below {form.categories}"
    return f"{what}, {numbers if form.categories else 'real numbers'}"


def _kind(shape: tuple[int, ...]) -> str:
    return "images" if len(shape) == 3 else "vectors"


def _form(shapes: Any) -> dict[str, Any]:
    """As JSON: of one array, or of a tuple of them."""
    if isinstance(shapes, tuple):
        return {"tuple": [_form(each) for each in shapes]}
    sizes = [size if isinstance(size, int) else str(size) for size in shapes.shape]
    return {"shape": sizes, "dtype": str(shapes.dtype)}


if __name__ == "__main__":
    main()
