"""The train step as a program for TPUs and GPUs, made on a machine that has neither."""

import re

import jax
import jax.export
import pytest

from jaxae.recipe import compute_in
from jaxae.training import make_train_step
from jaxae.training.checkpoint import abstract_state
from tests.test_protocol import CORE_FIRST, TX, batch, recipe_of

CONVOLUTIONAL = {
    "inpainting_autoencoder",
    "keras_denoiser",
    "ladder_vae",
    "unet",
    "vae",
    "vqvae",
}


def lowered(recipe, *platforms):
    """The step of `recipe`, of shapes alone: nothing is compiled."""
    state = abstract_state(recipe, TX)
    data = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch(recipe))
    step = jax.jit(make_train_step(recipe, TX), donate_argnums=0)
    return jax.export.export(step, platforms=platforms)(state, data), state


def convolutions(exported):
    return exported.mlir_module().count("stablehlo.convolution")


@pytest.mark.parametrize("name", CORE_FIRST)
def test_the_step_of_every_family_is_made_for_tpus_and_gpus(name):
    exported, state = lowered(recipe_of(name), "tpu", "cuda")
    assert exported.platforms == ("tpu", "cuda")
    # All of the state comes back as it went in, beside the metrics.
    leaves = jax.tree.leaves(state)
    new_state, metrics = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(new_state)] == [
        (x.shape, x.dtype) for x in leaves
    ]
    assert metrics["loss"].shape == ()
    # Accelerators get XLA's own convolutions: at least one forward and two backward.
    assert convolutions(exported) >= 3 or name not in CONVOLUTIONAL


@pytest.mark.parametrize("name", ["vae", "keras_denoiser"])
def test_convolutions_are_native_on_accelerators_and_fast_ones_on_the_cpu(name):
    # What differs between the platforms is chosen while a program is lowered, see
    # networks/convolution/primitive.py.
    recipe = recipe_of(name)
    programs = {
        platform: lowered(recipe, platform)[0] for platform in ("cpu", "cuda", "tpu")
    }
    lines = programs["cpu"].mlir_module().splitlines()
    for line in (line for line in lines if "stablehlo.convolution" in line):
        assert "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in line
        assert "lhs_dilate" not in line and "rhs_dilate" not in line
    assert convolutions(programs["cuda"]) == convolutions(programs["tpu"]) >= 3
    products = {
        platform: program.mlir_module().count("stablehlo.dot_general")
        for platform, program in programs.items()
    }
    assert products["cpu"] > products["cuda"] == products["tpu"]


@pytest.mark.parametrize("name", ["vae", "masked_autoencoder"])
def test_bfloat16_reaches_the_matrix_units(name):
    def operands(recipe):
        text = lowered(recipe, "tpu")[0].mlir_module()
        lines = re.findall(r"stablehlo\.(?:dot_general|convolution).*", text)
        return [re.search(r"x(bf16|f32)>", line)[1] for line in lines]

    recipe = recipe_of(name)
    single, half = operands(recipe), operands(compute_in(recipe, "bfloat16"))
    assert set(single) == {"f32"} and len(half) == len(single)
    # All but those of the bottleneck: one forward, two backward.
    assert half.count("f32") <= 3 < half.count("bf16")
