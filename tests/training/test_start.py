"""A warm start takes what fits of another model, and says what does not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import TypeCheckError

import jaxae
from jaxae import networks, recipes
from jaxae.errors import ArgumentError
from jaxae.recipe import Model
from jaxae.training import Parallel, Progress, init_state
from jaxae.training.initial import abstract_variables, by_name
from jaxae.training.loop import Best
from jaxae.training.parallel import fsdp, make_mesh
from jaxae.training.start import begun

X = np.random.default_rng(0).uniform(size=(8, 4)).astype(np.float32)
MLP = networks.FullyConnected((5,), batch_norm=True)
KEY = jax.random.key(0)
STILL = optax.sgd(0.0)  # what is trained stays where it began
RECIPE = recipes.vae((4,), 2, network=MLP)
WIDER = recipes.vae((4,), 3, network=MLP)


def filled(recipe):
    """A model of which no two numbers are alike."""
    rng = np.random.default_rng(1)
    return Model(
        recipe,
        jax.tree.map(
            lambda form: rng.uniform(0.5, 1.5, form.shape).astype(form.dtype),
            abstract_variables(recipe),
        ),
    )


def train(recipe, start, **options):
    options = {"tx": STILL, "epochs": 1, "batch_size": 4, "progress": False} | options
    return jaxae.fit(recipe, X, key=KEY, start=start, **options)


def first(recipe, start=None, tx=STILL):
    """The arrays of the state that a training begins with, by name."""
    variables = None if start is None else start.variables
    init = jax.jit(partial(init_state, recipe, tx))
    state = init({"x": X[:2]}, jax.random.split(KEY)[0], start=variables)
    return by_name({"params": state.params["model"], **state.collections}), state


def assert_equal(found, expected, names):
    assert names
    for name in names:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_a_whole_model_is_taken_without_a_word():
    start = filled(RECIPE)
    expected = by_name(start.variables)
    found, state = first(RECIPE, start)
    assert_equal(found, expected, expected)
    assert found.keys() == expected.keys() and int(state.step) == 0
    # Another objective is no matter.
    other = RECIPE.replace(objective=jaxae.objectives.ELBO(4.0))
    fitted = train(other, start)
    assert fitted.model.recipe == other
    params = {name for name in expected if name.startswith("params/")}
    assert_equal(by_name(fitted.model.variables), expected, params)
    # The model is not the training's to overwrite.
    assert_equal(by_name(start.variables), expected, expected)


def test_of_another_latent_dim_the_rest_is_taken():
    start = filled(RECIPE)
    with pytest.warns(UserWarning, match="^start: ") as warned:
        fitted = train(WIDER, start)
    assert [str(each.message) for each in warned] == [
        "start: 13 of 16 arrays are the model's; afresh begin "
        "params/bottleneck/Dense_0/bias, params/bottleneck/Dense_0/kernel, "
        "params/decoder/MLP_0/Dense_0/kernel"
    ]
    found, fresh = by_name(fitted.model.variables), first(WIDER)[0]
    given = by_name(start.variables)
    other = {name for name in given if given[name].shape != fresh[name].shape}
    assert_equal(found, fresh, other)
    params = {name for name in given if name.startswith("params/")}
    assert_equal(found, given, params - other)


def test_what_has_no_place_is_said():
    plain = recipes.vae((4,), 2, network=networks.FullyConnected((5,)))
    message = "^start: 6 of 8 .*; afresh begin .*; left out are batch_stats/.* 6 more$"
    with pytest.warns(UserWarning, match=message):
        begun(plain, filled(RECIPE))
    with pytest.warns(UserWarning, match="^start: 6 of 16 .* and 6 more; left out are"):
        begun(RECIPE, filled(plain))


def test_where_nothing_fits_or_nothing_is_to_start():
    other = recipes.vae((6,), 3, network=networks.FullyConnected((7,)))
    with pytest.raises(
        ArgumentError, match=r"^start must be one with arrays of the na"
    ):
        train(other, filled(RECIPE))
    with pytest.raises((ArgumentError, TypeCheckError), match="start"):
        train(RECIPE, filled(RECIPE).variables)
    state = first(RECIPE)[1]
    progress = Progress(state, Best(filled(RECIPE)))
    with pytest.raises(ArgumentError, match=r"^start must be left out with resume"):
        train(RECIPE, filled(RECIPE), resume=progress)


def test_dtypes_are_those_of_a_fresh_state():
    half = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), filled(RECIPE))
    found, _ = first(RECIPE, half)
    for name, values in by_name(half.variables).items():
        assert found[name].dtype == jnp.float32
        np.testing.assert_array_equal(found[name], values.astype(jnp.float32))


def test_what_an_optimizer_keeps_of_the_parameters_is_of_the_started_ones():
    tx = optax.contrib.schedule_free_sgd(0.1)
    _, state = first(RECIPE, filled(RECIPE), tx)
    jax.tree.map(np.testing.assert_array_equal, state.opt_state.z, state.params)


@pytest.mark.parametrize(("size", "counted"), [(6, 1.0), (7, 0.0)])
def test_a_codebook_of_another_size_is_not_taken_for_a_started_one(size, counted):
    """The first k-means of a codebook happens once, as a number beside it says."""
    other, recipe = (
        recipes.vqvae((4, 4, 1), codes, 2, network=networks.Convolutional((4,)))
        for codes in (size, 6)
    )
    start = filled(other)
    statistics = jax.tree.map(np.ones_like, start.variables["statistics"])
    start = start.replace(variables={**start.variables, "statistics": statistics})
    fresh = jax.jit(partial(init_state, recipe, STILL))
    state = fresh({"x": np.zeros((2, 4, 4, 1), "f4")}, KEY, start=start.variables)
    assert state.collections["statistics"]["bottleneck"]["initialized"] == counted


def test_a_start_is_not_made_twice():
    """The encoder of a sparse auto-encoder is tied to a fresh decoder alone."""
    sparse = partial(recipes.sparse_autoencoder, (4,), k=2, k_aux=2)
    start = filled(sparse(6))
    fitted = train(sparse(6), start)
    assert fitted.model.recipe.hooks == sparse(6).hooks
    expected = start.variables["params"]["bottleneck"]
    found = fitted.model.variables["params"]["bottleneck"]
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    with pytest.warns(UserWarning, match="^start: "):
        params = train(sparse(7), start).model.variables["params"]
    atoms = np.asarray(params["decoder"]["atoms"])
    np.testing.assert_allclose(params["bottleneck"]["kernel"], atoms.T, rtol=1e-6)


def test_on_several_devices(monkeypatch):
    monkeypatch.setattr("jaxae.training.parallel.LEAST_SHARDED", 1)
    start = filled(RECIPE)
    there = Parallel(make_mesh(devices=jax.devices()[:2]), fsdp)
    state = train(RECIPE, start, parallel=there).state
    assert not all(leaf.is_fully_replicated for leaf in jax.tree.leaves(state))
    found, expected = state.params["model"], start.variables["params"]
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_scale_without_numbers_has_those_of_the_model():
    """The weights know x in the units that they were trained in."""
    scaled = recipes.vae((4,), 2, network=MLP, likelihood="gaussian")
    scale = jaxae.preparation.Standardize((1.0, 2.0, 3.0, 4.0), (2.0,) * 4)
    model = filled(scaled.replace(prepare=scale))
    open_scale = scaled.replace(prepare=jaxae.preparation.Standardize())
    assert train(open_scale, model).model.recipe.prepare == scale
    own = open_scale.replace(prepare=jaxae.preparation.Standardize(0.0, 1.0))
    assert train(own, model).model.recipe.prepare == own.prepare
