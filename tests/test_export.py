"""Exported models: in a process that has JAX alone, they do what jaxae does."""

import dataclasses
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae import recipes
from jaxae.recipe import Model
from jaxae.samplers.autoregressive import sequence_recipe
from jaxae.saving.programs import export
from jaxae.training import Epoch, init_state
from jaxae.training.checkpoint import abstract_state, save_epochs
from jaxae.training.state import variables
from tests.test_protocol import CORE_FIRST, SHAPE, TX, recipe_of
from tests.weights import some_weights
from train import export as program
from train.errors import RunError
from train.presets import PRESETS
from train.run import Run, create_run

ROOT = Path(__file__).parents[1]
PLATFORMS = ("cpu", "cuda", "tpu")
SIZES = (2, 5)

# Runs every part that it finds on the arrays beside it, in batches of two sizes.
ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[2].split(","):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
import pathlib
import jax
import jax.export
import numpy as np
for file in sorted(pathlib.Path(sys.argv[1]).glob("*/*.jax")):
    part = jax.export.deserialize(file.read_bytes())
    inputs = dict(np.load(file.with_suffix(".npz")))
    first = [inputs.pop(k) for k in sorted(inputs) if k.startswith("first")]
    for size in map(int, sys.argv[3].split(",")):
        arguments = tuple(values[:size] for values in first)
        result = part.call(
            arguments[0] if len(arguments) == 1 else arguments,
            **{k: values[:size] for k, values in inputs.items()},
        )
        result = result if isinstance(result, tuple) else (result,)
        np.savez(file.with_name(f"{file.stem}_{size}.npz"), *result)
try:
    import jaxae
except ImportError:
    print("alone")
"""
BLOCKED = ("jaxae", "flax", "numpyro", "optax", "orbax", "jaxtyping", "train")


def small(name):
    """The recipe; for several latents the least one, which takes long to compile."""
    if name == "ladder_vae":
        return recipes.ladder_vae(SHAPE, 2, channels=(4, 4), stem=0)
    return recipe_of(name)


def some_model(name):
    """With parameters and statistics of which none is zero, without training."""
    recipe = small(name)
    return Model(recipe, some_weights(variables(abstract_state(recipe, TX)), 0.7))


def as_tuple(values):
    return values if isinstance(values, tuple) else (values,)


def side_fields(recipe, count):
    rng = np.random.default_rng(1)
    fields = {
        "label": np.arange(count, dtype=np.int32) % 4,
        "missing": rng.random((count, *SHAPE[:-1], 1)) < 0.3,
    }
    return {name: fields[name] for name in arguments(recipe.module)}


def arguments(family):
    """What is to be given beside x."""
    return {"missing" if name == "mask" else name for name in family.view.needs}


# With a label, several latents, a mask and a transformer, whole numbers.
RUN_ALONE = ("conditional_vae", "ladder_vae", "masked_autoencoder", "vqvae")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What a process without jaxae makes of the parts: {(family, part, size): arrays}.

    And {(family, part): arrays} of jaxae for all images, of which the first ones are
    those of a smaller batch.
    """
    folder, expected = tmp_path_factory.mktemp("parts"), {}
    for name in RUN_ALONE:
        model = some_model(name)
        x = np.random.default_rng(2).random((max(SIZES), *SHAPE), np.float32)
        x *= np.linspace(0, 1, len(x), dtype=np.float32).reshape(-1, 1, 1, 1)
        side = side_fields(model.recipe, len(x))
        parts = export(model)
        codes = jaxae.encode(model, x, **side)
        images = jaxae.decode(model, codes, **side)
        expected[name, "encoder"] = as_tuple(codes)
        expected[name, "decoder"] = expected[name, "model"] = (images,)
        firsts = {"encoder": x, "decoder": codes, "model": x}
        (folder / name).mkdir()
        for part, first in firsts.items():
            (folder / name / f"{part}.jax").write_bytes(parts[part].serialized)
            arrays = {f"first{i}": a for i, a in enumerate(as_tuple(first))}
            shown = {k: side[k] for k in list(parts[part].inputs)[1:]}
            np.savez(folder / name / f"{part}.npz", **arrays, **shown)
    arguments = [str(folder), ",".join(BLOCKED), ",".join(map(str, SIZES))]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if k.startswith(("JAX_", "XLA_"))},
        cwd=folder,
    )
    assert done.stdout == "alone\n", done.stderr
    results = {
        (name, part, size): list(np.load(folder / name / f"{part}_{size}.npz").values())
        for name, part in expected
        for size in SIZES
    }
    return results, expected


@pytest.mark.parametrize("name", RUN_ALONE)
@pytest.mark.parametrize("part", ["encoder", "decoder", "model"])
def test_it_computes_the_same_without_jaxae(alone, name, part):
    results, expected = alone
    for size in SIZES:
        values = [np.asarray(array[:size]) for array in expected[name, part]]
        for ours, theirs in zip(values, results[name, part, size], strict=True):
            assert ours.dtype == theirs.dtype
            assert size < max(SIZES) or len(np.unique(ours)) > 1
            # Sums of a few hundred float32 numbers in another order: what is left of
            # large ones (of 9,000, the ladder) that cancel is off by their rounding.
            atol = max(1e-5, 1e-6 * np.abs(ours).max())
            np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("name", CORE_FIRST)
def test_every_family_takes_any_number_of_images(name):
    model = some_model(name)
    family = model.module
    parts = export(model)
    assert list(parts) == ["encoder", "decoder", "model"]
    for part in parts.values():
        exported = jax.export.deserialize(part.serialized)
        assert exported.platforms == PLATFORMS
        leaves = jax.tree.leaves((part.inputs, part.outputs))
        avals = (*exported.in_avals, *exported.out_avals)
        assert sorted(str((x.shape, x.dtype)) for x in leaves) == sorted(
            str((x.shape, x.dtype)) for x in avals
        )
        for each in leaves:
            assert str(each.shape[0]) == "b"
            assert all(isinstance(size, int) for size in each.shape[1:])
    image = parts["encoder"].inputs["x"]
    assert image.shape[1:] == SHAPE and image.dtype == jnp.float32
    for name in ("decoder", "model"):
        assert parts[name].outputs.shape == image.shape
    codes = jax.tree.leaves(parts["encoder"].outputs)
    assert [c.dtype for c in codes] == [
        jnp.int32 if family.num_codes else jnp.float32 for _ in codes
    ]
    needs = {"encoder": arguments(family), "model": arguments(family)}
    for name, fields in needs.items():
        assert set(parts[name].inputs) == {"x", *fields}


def test_only_what_a_part_looks_at_is_asked_for():
    holes = export(some_model("inpainting_autoencoder"), platforms=["cpu"])
    assert set(holes["encoder"].inputs) == {"x", "missing"}
    assert set(holes["decoder"].inputs) == {"codes"}
    visible = export(some_model("masked_autoencoder"), platforms=["cpu"])
    assert set(visible["decoder"].inputs) == {"codes", "missing"}
    labels = export(some_model("conditional_vae"), platforms=["cpu"])
    assert set(labels["decoder"].inputs) == {"codes", "label"}


def test_bfloat16_goes_in_and_out_as_float32():
    model = some_model("vae")
    half = model.replace(recipe=jaxae.compute_in(model.recipe, "bfloat16"))
    part = export(half, platforms=["cpu"])["model"]
    x = np.random.default_rng(0).random((3, *SHAPE), np.float32)
    result = jax.export.deserialize(part.serialized).call(x)
    assert result.dtype == jnp.float32
    # Two roundings to 8 bits, of logits below 10, may end differently.
    np.testing.assert_allclose(result, jaxae.reconstruct(half, x), atol=0.02)
    assert not np.allclose(result, jaxae.reconstruct(model, x), atol=1e-4)


def test_variables_on_several_devices():
    model = some_model("autoencoder")
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    placed = model.replace(variables=jax.device_put(model.variables, spread))
    x = np.random.default_rng(0).random((3, *SHAPE), np.float32)
    for each in (model, placed):
        part = export(each, platforms=["cpu"])["encoder"]
        codes = jax.export.deserialize(part.serialized).call(x)
        np.testing.assert_allclose(codes, jaxae.encode(model, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("platforms", [(), ("cpu", "gpu")])
def test_bad_platforms(platforms):
    with pytest.raises(ValueError, match=r"platforms must be at least one of \('cpu',"):
        export(some_model("autoencoder"), platforms=platforms)


def test_a_model_without_codes():
    recipe = sequence_recipe(4, 3, width=8, depth=1)
    model = Model(recipe, variables(abstract_state(recipe, TX)))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), model.variables)
    with pytest.raises(ValueError, match="model must have a latent code, "):
        export(Model(recipe, zeros))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A directory as training leaves it, with the first weights as its best epoch."""
    preset = PRESETS["conditional-vae"].config()
    family = dataclasses.replace(preset.model, network="mlp:8")
    config = dataclasses.replace(preset, model=family)
    path = tmp_path_factory.mktemp("runs") / "run"
    run = Run(path, "conditional-vae", config, SHAPE, 100)
    create_run(run)
    data = {"x": jnp.zeros((2, *SHAPE)), "label": jnp.zeros(2, jnp.int32)}
    init = jax.jit(partial(init_state, run.recipe(), run.optimizer()))
    state = init(data, jax.random.key(0))
    with save_epochs(run.checkpoints, "loss") as save:
        save(Epoch(3, state, {"loss": 1.0}, True))
    return run, state


def test_the_program_writes_parts_and_says_what_they_take(run, capsys):
    run, state = run
    program.export(program.Arguments(run.path))
    out = run.path / "export"
    names = ["about.json", "decoder.jax", "encoder.jax", "model.jax"]
    assert sorted(file.name for file in out.iterdir()) == names
    assert str(out / "model.jax") in capsys.readouterr().out
    about = json.loads((out / "about.json").read_text())
    assert about["epoch"] == 3 and about["platforms"] == list(PLATFORMS)
    assert about["jax_version"] == jax.__version__
    encoder = about["parts"]["encoder"]
    assert [each["name"] for each in encoder["inputs"]] == ["x", "label"]
    image, label = encoder["inputs"]
    assert image["shape"] == ["b", *SHAPE] and image["dtype"] == "float32"
    assert "[0, 1]" in image["meaning"]
    assert label["shape"] == ["b"] and label["dtype"] == "int32"
    assert "below 10" in label["meaning"]
    assert encoder["output"]["shape"] == ["b", 16]
    model = Model(run.recipe(), variables(state))
    x, labels = np.zeros((3, *SHAPE), np.float32), np.asarray([0, 1, 2], np.int32)
    part = jax.export.deserialize((out / "model.jax").read_bytes())
    np.testing.assert_allclose(
        part.call(x, label=labels),
        jaxae.reconstruct(model, x, label=labels),
        rtol=1e-5,
        atol=1e-5,
    )


def test_several_codes_are_a_tuple_in_the_description():
    model = some_model("ladder_vae")
    parts = export(model, platforms=["cpu"])
    about = program.describe("decoder", parts["decoder"], model)
    codes = about["inputs"][0]["tuple"]
    assert [each["shape"] for each in codes] == [["b", 2, 2, 2], ["b", 4, 4, 2]]
    assert about["output"] == {
        "shape": ["b", *SHAPE],
        "dtype": "float32",
        "meaning": about["output"]["meaning"],
    }


def test_the_command_line(run, tmp_path):
    command = [sys.executable, "-m", "train.export"]
    options = ["--out", str(tmp_path / "out"), "--platforms", "cpu"]
    done = subprocess.run(
        [*command, str(run[0].path), *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    part = jax.export.deserialize((tmp_path / "out" / "encoder.jax").read_bytes())
    assert part.platforms == ("cpu",)


def test_a_missing_run(tmp_path):
    with pytest.raises(RunError, match="no run there"):
        program.export(program.Arguments(tmp_path))
