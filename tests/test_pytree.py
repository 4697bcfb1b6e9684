"""A model is a pytree: it goes through jit, grad and vmap, alone and as an ensemble."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

import jaxae
from jaxae import networks, recipes
from jaxae.errors import ArgumentError
from jaxae.evaluation import elbo_terms, nll_nats
from jaxae.training.initial import abstract_variables

KEY = jax.random.key(3)
LINEAR = networks.FullyConnected(())
MLP = networks.FullyConnected((5,), activation="tanh")  # smooth
X = np.random.default_rng(0).uniform(size=(6, 4)).astype(np.float32)
CODES = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}

RECIPES = {
    "linear": recipes.autoencoder((4,), 2, network=LINEAR),
    "vae": recipes.vae((4,), 2, network=MLP),
    "conditional": recipes.conditional_vae((4,), 2, num_labels=3, network=MLP),
    "discrete": recipes.fsq_autoencoder((4,), (3, 4), network=MLP),
    "inpainting": recipes.inpainting_autoencoder((2, 2, 1), 2, network=MLP),
}


@cache
def model_of(name):
    """With random weights, of which none is zero."""
    recipe, rng = RECIPES[name], np.random.default_rng(2)

    def drawn(form):
        return jnp.asarray(rng.normal(0, 0.5, form.shape).astype(form.dtype))

    return jaxae.Model(recipe, jax.tree.map(drawn, abstract_variables(recipe)))


def assert_close(found, expected):
    jax.tree.map(partial(np.testing.assert_allclose, **TOLERANCE), found, expected)


def test_the_leaves_are_the_variables_and_the_recipe_is_static():
    model = model_of("vae")
    leaves, structure = jax.tree.flatten(model)
    assert len(leaves) == len(jax.tree.leaves(model.variables)) > 0
    again = jax.tree.unflatten(structure, leaves)
    assert isinstance(again, jaxae.Model) and again.recipe is model.recipe
    equal = recipes.vae((4,), 2, network=MLP)
    assert jax.tree.structure(model.replace(recipe=equal)) == structure
    other = equal.replace(title="another")
    assert jax.tree.structure(model.replace(recipe=other)) != structure


def test_equal_recipes_are_one_program():
    traced = []

    @jax.jit
    def codes(model, x):
        traced.append(model.recipe)
        return jaxae.encode(model, x)

    first = codes(model_of("vae"), X)
    equal = model_of("vae").replace(recipe=recipes.vae((4,), 2, network=MLP))
    np.testing.assert_array_equal(codes(equal, X), first)
    assert len(traced) == 1
    codes(equal.replace(recipe=equal.recipe.replace(title="another")), X)
    assert len(traced) == 2


def all_of(model, x, codes, key):
    """What a model is for, but for what another kind of model has."""
    return {
        "encode": jaxae.encode(model, x),
        "drawn": jaxae.encode(model, x, key=key),
        "decode": jaxae.decode(model, codes),
        "reconstruct": jaxae.reconstruct(model, x),
        "repair": jaxae.repair(model, x),
        "interpolate": jaxae.interpolate(model, x[:3], x[3:], steps=3),
        "sample": jaxae.sample(model, key, 3),
        "new": jaxae.sample(model, key, 3, draw=True),
        "nll": nll_nats(model, x, key, num_samples=5),
        "elbo": elbo_terms(model, {"x": x}, key),
    }


def test_traced_arrays_give_the_same_numbers():
    model = model_of("vae")
    expected = all_of(model, X, CODES, KEY)
    assert_close(jax.jit(all_of)(model, X, CODES, KEY), expected)


def test_traced_labels_masks_and_whole_numbers_too():
    conditional, label = model_of("conditional"), np.arange(6) % 3

    def shown(model, x, label):
        return jaxae.reconstruct(model, x, label=label)

    expected = shown(conditional, X, label)
    assert_close(jax.jit(shown)(conditional, X, label), expected)
    inpainting, images = model_of("inpainting"), X.reshape(6, 2, 2, 1)
    mask = np.random.default_rng(3).uniform(size=(6, 2, 2)) < 0.5

    def filled(model, x, mask):
        return jaxae.repair(model, x, missing=mask, fill=0.5)

    expected = filled(inpainting, images, mask)
    assert_close(jax.jit(filled)(inpainting, images, mask), expected)
    discrete, whole = model_of("discrete"), np.arange(12)
    expected = jaxae.decode(discrete, whole)
    assert_close(jax.jit(jaxae.decode)(discrete, whole), expected)


def kernel(model, part):
    return np.asarray(model.variables["params"][part]["Dense_0"]["kernel"])


def test_slopes_of_a_linear_model_are_its_kernels():
    model = model_of("linear")
    down, up = kernel(model, "bottleneck"), kernel(model, "decoder")

    def one(function):
        return jax.jit(jax.jacobian(lambda value: function(model, value[None])[0]))

    np.testing.assert_allclose(one(jaxae.encode)(X[0]), down.T, **TOLERANCE)
    np.testing.assert_allclose(one(jaxae.decode)(CODES[0]), up.T, **TOLERANCE)
    both = (down @ up).T
    np.testing.assert_allclose(one(jaxae.reconstruct)(X[0]), both, **TOLERANCE)
    np.testing.assert_allclose(one(jaxae.repair)(X[0]), both, **TOLERANCE)


def test_the_slope_of_the_sum_of_what_codes_stand_for():
    model = model_of("linear")
    slope = jax.jit(jax.grad(lambda z: jaxae.decode(model, z).sum()))(CODES)
    expected = np.broadcast_to(kernel(model, "decoder").sum(axis=1), CODES.shape)
    np.testing.assert_allclose(slope, expected, **TOLERANCE)


def test_the_likelihood_has_a_gradient_by_every_parameter():
    model = model_of("vae")

    @jax.jit
    def mean(model):
        return nll_nats(model, X, KEY, num_samples=5).mean()

    grads = jax.grad(mean)(model)
    assert isinstance(grads, jaxae.Model) and grads.recipe == model.recipe
    assert all((leaf != 0).any() for leaf in jax.tree.leaves(grads))
    # Against finite differences, whose own error in float32 this is.
    check_grads(mean, (model,), 1, modes=["rev"], eps=1e-2, rtol=1e-2, atol=1e-3)


def test_one_by_one_under_vmap():
    model, keys = model_of("vae"), jax.random.split(KEY, 3)

    def codes(x):
        return jaxae.encode(model, x[None])[0]

    assert_close(jax.vmap(codes)(X), jaxae.encode(model, X))
    alone = jax.vmap(lambda z: jaxae.decode(model, z[None])[0])
    assert_close(alone(CODES), jaxae.decode(model, CODES))
    draw = partial(jaxae.sample, model, count=2)
    each = [draw(key) for key in keys]
    assert_close(jax.jit(jax.vmap(draw))(keys), np.stack(each))
    groups = X.reshape(3, 2, 4)
    over = jax.vmap(lambda x, key: nll_nats(model, x, key, num_samples=5))
    found = jax.jit(over)(groups, keys)
    pairs = zip(groups, keys, strict=True)
    each = [nll_nats(model, x, key, num_samples=5) for x, key in pairs]
    assert_close(found, np.stack(each))


def test_an_ensemble_is_a_stack_of_models():
    members = jaxae.fit_many(
        lambda _: (RECIPES["vae"], optax.adam(1e-2)),
        X,
        keys=jax.vmap(jax.random.key)(np.arange(3)),
        epochs=2,
        batch_size=6,
        progress=False,
        mesh=jax.make_mesh((1,), ("data",)),
    )
    models = [member.model for member in members]
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *models)
    over = jax.jit(jax.vmap(all_of, in_axes=(0, None, None, None)))
    found = over(stacked, X, CODES, KEY)
    one = jax.jit(all_of)
    found = jax.device_get(found)
    for i, model in enumerate(models):
        expected = one(model, X, CODES, KEY)
        assert_close(jax.tree.map(lambda values, i=i: values[i], found), expected)
    assert not np.allclose(found["decode"][0], found["decode"][1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda model, x: jaxae.encode(model, x[:, :3]),
            r"x must be of shape \[n, 4\]",
        ),
        (lambda model, x: jaxae.decode(model, x), r"codes must be of shape \[n, 2\]"),
        (
            lambda model, x: nll_nats(model, x[0], KEY),
            r"data must be of shape \[n, 4\]",
        ),
        (lambda model, x: jaxae.repair(model, x, missing=x), "missing must be bool"),
    ],
)
def test_shapes_and_types_are_checked_under_jit_too(call, message):
    with pytest.raises(ArgumentError, match=message):
        jax.jit(call)(model_of("vae"), X)


def test_values_are_checked_where_they_are_known():
    nothing = np.full_like(X, np.nan)
    with pytest.raises(ArgumentError, match="x must be finite"):
        jaxae.encode(model_of("vae"), nothing)
    assert np.isnan(jax.jit(jaxae.encode)(model_of("vae"), nothing)).all()
