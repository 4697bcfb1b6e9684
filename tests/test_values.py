"""Parts are values: what they print makes them, equal ones are equal, and users' own
functions and modules are parts too."""

import dataclasses
import pickle
from inspect import signature

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jaxae
from jaxae import (
    corruptions,
    likelihoods,
    networks,
    objectives,
    recipes,
    schedules,
    views,
)
from jaxae.corruptions import Compose, GaussianNoise, Holes, Masking
from jaxae.errors import ArgumentError
from jaxae.schedules import Cosine, Cyclical, Linear
from jaxae.values import Module, Value, expression, fields_of
from tests.test_protocol import OPTIONS, SHAPE

# Of every argument of every recipe a value that is no family's default.
CHANGED = {
    "activation": "gated",
    "alpha": 0.25,
    "bandwidth": 0.75,
    "beta": Linear(0.0, 2.0, 5),
    "bits": 6,
    "capacity": Cosine(0.0, 25.0, 100),
    "channels": (8, 4),
    "code_dim": 3,
    "code_weight": 0.5,
    "codebook": "gradient",
    "codebook_size": 9,
    "commitment_weight": 0.125,
    "components": 6,
    "corruption": Compose((Holes(2, at=(1, 0)), GaussianNoise(0.1, clip=True))),
    "critic": networks.MLP((5,), gated=True),
    "conditional_prior": True,
    "conditions": {
        "conditional_vae": (views.Condition("place", 5, embedding=3),),
        "ladder_vae": (views.Condition("place", 5, to=views.PARTS),),
        "unet": (views.Condition("hint", shape=(8, 8, 1), to=("encoder",)),),
        "vamp_vae": (views.Condition("age"),),
    },
    "critic_learning_rate": Cosine(1e-3, 0.0, 10),
    "data_size": 77,
    "dead_after": 50,
    "decay": 0.5,
    "depth": 6,
    "diagonal": 3.0,
    "diversity": 0.5,
    "elbo_weight": Linear(1.0, 0.0, 10),
    "entropy_weight": 0.1,
    "estimator": "hutchinson",
    "flow": "maf",
    "free_bits": 0.25,
    "gamma": Cyclical(10, ratio=0.25),
    "gradient": "sticking_the_landing",
    "gradient_estimator": "rotation",
    "groups": 5,
    "hidden": (7,),
    "k": 5,
    "k_aux": 3,
    "kernel": {"wae_mmd": "rbf", "info_vae_mmd": "inverse_multiquadratic"},
    "kind": "ii",
    "l1": 0.5,
    "penalty_weight": Linear(0.0, 1.0, 5),
    "holes": True,
    "input_shape": (5,),
    "latent_channels": 3,
    "latent_dim": 48,
    "latent_dims": (6, 5, 4),
    "layers": 3,
    "levels": (3, 5),
    "likelihood": likelihoods.Gaussian("per_value"),
    "log_std_range": (-5.0, 2.0),
    "network": networks.Convolutional((4, 6), residual_blocks=1, activation="gelu"),
    "noise": 0.25,
    "num_labels": 3,
    "num_quantizers": 2,
    "num_samples": 3,
    "off_diagonal": Linear(0.0, 5.0, 9),
    "patch": 2,
    "rate": 0.5,
    "region": "outside",
    "regularizer": "gradient_penalty",
    "resample_every": 30,
    "sampling": "stratified",
    "sparsity_weight": 0.3,
    "stem": 3,
    "aux_weight": 0.5,
    "upper_network": networks.FullyConnected((6,), gated=True),
    "weight": Linear(3.0, 0.0, 9),
    "width": 32,
}
# What an argument needs beside it; a weight of what is not there changes nothing.
BESIDE = {
    ("contractive_autoencoder", "network"): {"estimator": "exact"},
    ("sparse_autoencoder", "latent_dim"): {"k": 4},
    ("beta_tc_vae", "data_size"): {},
}
NEEDED = {"beta_tc_vae": {"data_size": 50}}


def arguments():
    for family in recipes.FAMILIES:
        for name in signature(family).parameters:
            if name != "shape":
                yield pytest.param(family, name, id=f"{family.__name__}-{name}")


def names_of(package):
    """What `eval` finds: the names of jaxae and nothing else."""
    return dict(vars(package))


def assert_is_what_it_prints(recipe):
    again = eval(repr(recipe), names_of(jaxae))
    assert again == recipe and hash(again) == hash(recipe)
    assert repr(again) == repr(recipe)
    assert pickle.loads(pickle.dumps(recipe)) == recipe


@pytest.mark.parametrize("family", recipes.FAMILIES, ids=lambda each: each.__name__)
def test_a_recipe_is_what_it_prints(family):
    name = family.__name__
    for options in (NEEDED.get(name, {}), OPTIONS[name]):
        recipe = family(SHAPE, **options)
        assert recipe == family(SHAPE, **options)
        assert_is_what_it_prints(recipe)
        assert_is_what_it_prints(jaxae.compute_in(recipe, "bfloat16"))
        assert "<" not in repr(recipe)  # as Python prints what has no expression


@pytest.mark.parametrize(("family", "name"), list(arguments()))
def test_every_argument_makes_another_recipe_and_is_printed(family, name):
    value = CHANGED[name]
    if isinstance(value, dict):
        value = value[family.__name__]
    beside = BESIDE.get((family.__name__, name), NEEDED.get(family.__name__, {}))
    recipe = family(SHAPE, **{**beside, name: value})
    assert_is_what_it_prints(recipe)
    assert recipe != family(SHAPE, **{**NEEDED.get(family.__name__, {}), **beside})


def test_only_what_is_not_default_is_printed():
    assert repr(recipes.vae((4,), 2, beta=2.0)) == (
        "Recipe(module=AutoEncoder(shape=(4,), encoder=networks.MLP(), "
        "bottleneck=bottlenecks.Gaussian(latent_dim=2), "
        "decoder=networks.MLPDecoder(shape=(4,)), "
        "likelihood=likelihoods.Bernoulli()), objective=objectives.ELBO(beta=2.0), "
        "prepare=preparation.binarize, title='variational auto-encoder')"
    )


def test_parts_inside_parts_are_printed_by_their_rooms():
    damage = Compose((Holes(2, count=3), GaussianNoise(0.1, clip=True), Masking(0.5)))
    assert repr(damage) == (
        "corruptions.Compose(corruptions=(corruptions.Holes(height=2, count=3), "
        "corruptions.GaussianNoise(std=0.1, clip=True), "
        "corruptions.Masking(rate=0.5)))"
    )
    objective = objectives.Chain((objectives.ELBO(Linear(0.0, 1.0, 7)),))
    assert repr(objective) == (
        "objectives.Chain(objectives=(objectives.ELBO("
        "beta=schedules.Linear(start=0.0, end=1.0, steps=7)),))"
    )
    assert eval(repr(objective), names_of(jaxae)) == objective
    assert expression(np.float32(0.5)) == "0.5"
    assert expression(names_of) == f"{__name__}.names_of"
    assert "<function" in repr(objectives.ELBO(lambda step: 1.0))


INFINITE = {
    "float('inf')": recipes.vae((4,), 2, capacity=float("inf")),
    "(float('-inf'), 2.0)": recipes.vae((4,), 2, log_std_range=(-np.inf, 2.0)),
}


@pytest.mark.parametrize("printed", INFINITE)
def test_infinities_are_what_they_print(printed):
    assert f"={printed})" in repr(INFINITE[printed])
    assert_is_what_it_prints(INFINITE[printed])
    assert expression((np.float32("nan"), 1)) == "(float('nan'), 1)"


class Network(Module):
    """A part of the user's own."""

    width: int = 3

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(self.width)(x.reshape(x.shape[0], -1))


class OwnDecoder(nn.Module):
    """One that knows nothing of jaxae."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z, *, train=False):
        return nn.Dense(int(np.prod(self.shape)))(z).reshape(len(z), *self.shape)


def test_what_is_the_users_own_is_printed_by_its_module():
    assert repr(Network(4)) == f"{__name__}.Network(width=4)"
    assert expression(OwnDecoder((4,))) == f"{__name__}.OwnDecoder(shape=(4,))"


def test_values_are_equal_by_their_kind_and_fields():
    assert Linear(0.0, 1.0, 5) == Linear(0.0, 1.0, steps=5) != Linear(0.0, 1.0, 6)
    assert hash(Linear(0.0, 1.0, 5)) == hash(Linear(0.0, 1.0, 5))
    assert Linear(0.0, 1.0, 5) != Cosine(0.0, 1.0, 5)
    kept = {recipes.vae((4,), 2): "vae", recipes.vae((4,), 3): "wider"}
    assert kept[recipes.vae((4,), 2)] == "vae" and len(kept) == 2
    assert recipes.vae((4,), 2) != recipes.vae((4,), 2, beta=2.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Linear(0.0, 1.0, 5).steps = 6


def test_an_activation_is_the_same_by_name_and_as_the_function():
    for make in (networks.MLP, networks.FullyConnected, networks.Convolutional):
        given = make((4,), activation=jax.nn.gelu)
        assert given == make((4,), activation="gelu")
        assert eval(repr(given), vars(jaxae)) == given
    assert networks.MLP((4,), activation=jnp.sin).activation is jnp.sin


def test_a_decorator_that_is_written_once_more_changes_nothing():
    @dataclasses.dataclass(frozen=True)
    class Own(jaxae.Objective):
        weight: float = 1.0

    assert Own(2.0) == Own(2.0) and hash(Own(2.0)) == hash(Own(2.0))
    assert repr(Own(2.0)).endswith("Own(weight=2.0)") and repr(Own()).endswith("Own()")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Own().weight = 2.0


def test_replacing_a_field_checks_it_and_keeps_the_rest():
    noise = GaussianNoise(0.1, clip=True)
    assert noise.replace(std=0.2) == GaussianNoise(0.2, clip=True)
    assert noise == GaussianNoise(0.1, clip=True)
    with pytest.raises(ArgumentError, match="std must be"):
        noise.replace(std=-0.1)
    with pytest.raises(TypeError, match="sigma"):
        noise.replace(sigma=0.1)
    recipe = recipes.autoencoder((4,), 2)
    assert recipe.replace(corruption=noise).corruption == noise
    assert recipe.replace(corruption=noise).module is recipe.module
    assert recipe.replace() == recipe


def test_fields_of_a_module_are_those_that_make_it():
    pair = networks.FullyConnected((3, 2), gated=True)
    assert fields_of(pair.encoder()) == fields_of(pair) | {"dtype": None}
    assert fields_of(pair) == {
        "hidden": (3, 2),
        "gated": True,
        "activation": "relu",
        "batch_norm": False,
    }


# Parts of the user's own


X = np.random.default_rng(0).uniform(size=(8, 4)).astype(np.float32)


def train(recipe, **options):
    options = {"epochs": 1, "batch_size": 4, "progress": False} | options
    return jaxae.fit(recipe, X, key=jax.random.key(0), **options)


def test_a_lambda_is_a_corruption_and_a_closure_a_schedule():
    factor = 0.5

    def growing(step):
        return factor * (1.0 + step)

    own = recipes.vae((4,), 2, network=networks.FullyConnected((3,)), beta=growing)
    own = own.replace(corruption=lambda key, x: (0.25 * x, None))
    assert own == own.replace() and hash(own) == hash(own.replace())
    row = train(own, batch_size=8).history[0]  # one step, the first
    expected = row["distortion_nats"] + factor * row["rate_nats"]
    assert row["loss"] == pytest.approx(expected, rel=1e-6)
    # The codes come from what the lambda left of x.
    whole = own.replace(corruption=corruptions.identity)
    assert train(whole, batch_size=8).history[0]["rate_nats"] != row["rate_nats"]


class Halve(Value):
    """A corruption that is a value and no `Corruption`."""

    factor: float = 0.5

    def __call__(self, key, x):
        return self.factor * x, None


def test_a_users_modules_and_values_train():
    network = Network(5), OwnDecoder
    recipe = recipes.autoencoder((4,), 2, network=network).replace(corruption=Halve())
    assert recipe == recipes.autoencoder((4,), 2, network=network).replace(
        corruption=Halve(0.5)
    )
    fitted = train(recipe, epochs=20, batch_size=8)
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    kernel = fitted.model.variables["params"]["encoder"]["Dense_0"]["kernel"]
    assert kernel.shape == (4, 5)
    assert jaxae.reconstruct(fitted.model, X).shape == X.shape
    assert f"{__name__}.Halve()" in repr(fitted.model)


class Sized(nn.Module):
    """With an attribute of any type."""

    sizes: object

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(3)(x)


class Tabled(jaxae.Objective):
    """With an attribute of any type."""

    table: object

    def loss(self, params, trace, context):
        raise AssertionError("traced before the attributes were checked")


def nested(sizes):
    """A module inside a module."""

    class Outer(nn.Module):
        inner: nn.Module

        @nn.compact
        def __call__(self, x, *, train=False):
            return self.inner(x, train=train)

    return Outer(Sized(sizes))


PLAIN = recipes.autoencoder((4,), 2, network=networks.FullyConnected((3,)))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            recipes.autoencoder((4,), 2, network=(Sized([3]), OwnDecoder)),
            r"^recipe\.module\.encoder\.sizes is of type list, .*: give a tuple in",
        ),
        (
            recipes.autoencoder((4,), 2, network=(nested([3]), OwnDecoder)),
            r"^recipe\.module\.encoder\.inner\.sizes is of type list",
        ),
        (
            recipes.autoencoder((4,), 2, network=(Sized(np.ones(2)), OwnDecoder)),
            r"^recipe\.module\.encoder\.sizes is of type ndarray",
        ),
        (
            PLAIN.replace(objective=objectives.Chain((Tabled(1), Tabled(jnp.ones(2))))),
            r"^recipe\.objective\.objectives\[1\]\.table is of type ArrayImpl",
        ),
        (
            PLAIN.replace(corruption=Halve({"a": 1})),
            r"^recipe\.corruption\.factor is of type dict",
        ),
    ],
    ids=["list", "nested", "array", "objective", "dict"],
)
def test_what_has_no_hash_is_named_before_the_training(recipe, message):
    with pytest.raises(ArgumentError, match=message):
        train(recipe)
    keys = jax.random.split(jax.random.key(0), 2)
    with pytest.raises(ArgumentError, match=message):
        jaxae.fit_many(lambda _: (recipe, optax.sgd(0.1)), X, keys=keys, epochs=1)


# Schedules


STEPS = np.arange(14)


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (2.0, 0.5)])
def test_a_straight_line_is_that_of_optax(start, end):
    expected = jax.vmap(optax.linear_schedule(start, end, 10))(STEPS)
    np.testing.assert_array_equal(Linear(start, end, 10)(STEPS), expected)
    assert float(Linear(start, end, 10)(0)) == start
    assert float(Linear(start, end, 10)(13)) == end


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (2.0, 0.5), (1.0, 0.0)])
def test_half_a_cosine(start, end):
    found = Cosine(start, end, 10)(STEPS)
    share = 0.5 * (1.0 + np.cos(np.pi * np.minimum(STEPS, 10) / 10))
    np.testing.assert_allclose(found, end + (start - end) * share, atol=1e-6)
    if start > 0:
        decay = optax.cosine_decay_schedule(start, 10, alpha=end / start)
        np.testing.assert_allclose(
            found, jax.vmap(decay)(STEPS.astype(np.float32)), rtol=1e-6, atol=1e-7
        )
    assert float(found[0]) == start and found[-1] == pytest.approx(end, abs=1e-7)


def test_schedules_are_learning_rates_and_are_traced():
    rate = Cosine(0.1, 0.0, 4)
    tx = optax.sgd(rate)
    state, params = tx.init(jnp.ones(2)), jnp.ones(2)
    for step in range(5):
        updates, state = tx.update(jnp.ones(2), state, params)
        np.testing.assert_allclose(updates, -rate(step))
    np.testing.assert_array_equal(jax.jit(rate)(3), rate(3))
    every = [schedules.Linear(0.0, 1.0, 4), rate, schedules.Cyclical(4, 2.0)]
    for schedule in every:
        assert jax.jit(schedule)(jnp.asarray(3)).dtype == jnp.float32
        assert eval(repr(schedule), names_of(jaxae)) == schedule
