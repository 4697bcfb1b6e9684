"""Parts of the user's own are looked at when they are first traced; what they must not
do is said in a sentence, and what they may leave out is left out."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jaxae
from jaxae import Objective, evaluation, networks, recipes, samplers
from jaxae.errors import ArgumentError
from jaxae.inputs import check_data
from jaxae.objectives import Chain, Reconstruction, Stateless
from jaxae.training import init_state, make_train_step

pytestmark = pytest.mark.usefixtures("as_users_call_it")

KEY = jax.random.key(0)
X = np.random.default_rng(0).uniform(size=(6, 2, 2, 1)).astype(np.float32)
RECIPE = recipes.autoencoder((2, 2, 1), 2, network=networks.FullyConnected((3,)))


def train(recipe, data=X, **options):
    options = {"epochs": 1, "batch_size": 6, "progress": False} | options
    return jaxae.fit(recipe, data, key=KEY, **options)


def trace_step(recipe):
    """The step alone, as in a loop of the user's own; nothing is computed."""
    tx, batch = optax.sgd(0.1), {"x": jnp.asarray(X[:2])}
    state = jax.eval_shape(lambda key: init_state(recipe, tx, batch, key), KEY)
    jax.eval_shape(make_train_step(recipe, tx), state, batch)


def refused(recipe, message):
    for use in (train, trace_step):
        with pytest.raises(ArgumentError, match=message):
            use(recipe)


# Objectives


def squares(trace):
    return jnp.square(trace.likelihood.mean[0] - trace.target)


LOSSES = {
    "column": (lambda x: x.sum(axis=(1, 2, 3))[:, None], r"got \(n, 1\)"),
    "scalar": (lambda x: x.mean(), r"got \(\)"),
    "map": (lambda x: x, r"got \(n, 2, 2, 1\)"),
    "transposed": (lambda x: x.sum(axis=0), r"got \(2, 2, 1\)"),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_is_a_number_for_every_example(kind):
    reduce, came = LOSSES[kind]

    class Own(Objective):
        def loss(self, params, trace, context):
            return reduce(squares(trace)), {}

    recipe = RECIPE.replace(objective=Own())
    for use, size in ((train, "6"), (trace_step, "2")):
        shape = rf"\({size},\)"
        message = (
            rf"^an objective's loss must have the shape {shape}, .*{came} from .*Own"
        )
        with pytest.raises(ArgumentError, match=message.replace("n, ", f"{size}, ")):
            use(recipe)


def test_so_is_every_metric_of_it():
    def own(trace, context):
        loss = squares(trace).sum(axis=(1, 2, 3))
        return loss, {"mean": loss.mean()}

    recipe = RECIPE.replace(objective=Stateless(own))
    refused(recipe, r"^an objective's mean must have the shape .*, got \(\) from")
    both = RECIPE.replace(objective=Chain((Reconstruction(), Stateless(own))))
    refused(both, r"^an objective's mean must have the shape")


def test_parameters_and_optimizer_of_an_objective_are_looked_at():
    class Own(Reconstruction):
        def init(self, key, trace):
            return {"critic": "none"}

    class Moved(Reconstruction):
        def tx(self, main):
            return 3

    for own, message in (
        (Own(), "init of Own must return arrays, got a value of type str among them"),
        (Moved(), "tx of Moved must return an optax optimizer, or None .*type int"),
    ):
        refused(RECIPE.replace(objective=own), message)
        refused(RECIPE.replace(objective=Chain((own,))), message)


def test_a_loss_of_the_right_shape_weighs_its_examples():
    """The same by repetition as by weight, which a scalar loss could not be."""

    def own(trace, context):
        return squares(trace).sum(axis=(1, 2, 3)), {}

    recipe, tx = RECIPE.replace(objective=Stateless(own)), optax.sgd(0.1)
    weight = np.asarray([2, 0, 1, 0, 0, 3], np.float32)
    options = {"tx": tx, "batch_size": 6}
    weighed = train(recipe, {"x": X, "weight": weight}, **options)
    repeated = train(recipe, X[[0, 0, 2, 5, 5, 5]], **options)
    found, expected = weighed.history[0]["loss"], repeated.history[0]["loss"]
    assert found == pytest.approx(expected, rel=1e-6)


# Corruptions and preparations


CORRUPTIONS = {
    "no pair": (
        lambda key, x: x,
        r"must return \(damaged x, mask or None\), got an array of shape \(2, 2, 2, 1",
    ),
    "three": (lambda key, x: (x, None, None), r"must return \(damaged x, mask or Non"),
    "nothing": (lambda key, x: None, r"got a value of type NoneType"),
    "flat": (
        lambda key, x: (x.reshape(len(x), 4), None),
        r"must keep the shape of x, \(2, 2, 2, 1\), got \(2, 4\)",
    ),
    "fewer": (lambda key, x: (x[:1], None), r"must keep the shape of x, .*got \(1, 2"),
    "mask of floats": (
        lambda key, x: (x, jnp.zeros_like(x)),
        r"mask must be of bool and shape \(2, 2, 2, 1\), got float32 of \(2, 2, 2, 1\)",
    ),
    "mask of bytes": (lambda key, x: (x, jnp.uint8(x > 0.5)), "got uint8 of"),
    "mask without channels": (
        lambda key, x: (x, x[..., 0] > 0.5),
        r"shape \(2, 2, 2, 1\), got bool of \(2, 2, 2\)",
    ),
    "one mask for all": (
        lambda key, x: (x, x[:1] > 0.5),
        r"got bool of \(1, 2, 2, 1\)",
    ),
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_keeps_the_shape_and_returns_a_mask(kind):
    corruption, message = CORRUPTIONS[kind]
    refused(RECIPE.replace(corruption=corruption), f"^(a|the) corruption.*{message}")


def test_a_preparation_keeps_the_shape():
    # First seen by the initialisation, which takes two examples.
    message = r"^the preparation must keep the shape of x, \(2, 2, 2, 1\), got \(2, 4\)"
    recipe = RECIPE.replace(prepare=lambda key, x: x.reshape(len(x), -1))
    refused(recipe, message)


def test_the_evaluation_looks_at_them_too():
    model = train(RECIPE).model
    damaged = model.replace(recipe=RECIPE.replace(corruption=lambda key, x: x))
    with pytest.raises(ArgumentError, match=r"^a corruption must return"):
        evaluation.reconstruction_quality(damaged, X, KEY)


# Hooks


def grown(state, seen, key):
    bias = state.params["model"]["bottleneck"]["Dense_0"]["bias"]
    model = {**state.params["model"], "bottleneck": {"Dense_0": {"bias": bias[None]}}}
    return state._replace(params={**state.params, "model": model})


def wider(state, seen, key):
    return state._replace(step=jnp.zeros((2,), jnp.int32))


def cast(state, seen, key):
    as_half = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), state.params)
    return state._replace(params=as_half)


@pytest.mark.parametrize("hook", [grown, wider, cast])
def test_a_hook_keeps_what_the_state_is_made_of(hook):
    message = rf"{hook.__name__}.* must keep the state's shapes"
    refused(RECIPE.replace(hooks=(hook,)), message)


def test_a_hook_that_keeps_them_is_run():
    def halved(state, seen, key):
        half = jax.tree.map(lambda leaf: 0.5 * leaf, state.params)
        return state._replace(params=half)

    still = {"tx": optax.sgd(0.0)}
    once = train(RECIPE, **still).state.params
    twice = train(RECIPE.replace(hooks=(halved, halved)), **still).state.params
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(0.25 * a, b), dict(once), dict(twice)
    )


# What training and its results are handed to


TABLE = np.random.default_rng(0).random((12, 4), np.float32)


@pytest.fixture(scope="module")
def fitted():
    network = networks.FullyConnected((3,))
    recipe = recipes.autoencoder((4,), 2, network=network)
    return jaxae.fit(recipe, TABLE, key=jax.random.key(0), epochs=1, progress=False)


NO_MODELS = {
    "encode": lambda other: jaxae.encode(other, TABLE),
    "decode": lambda other: jaxae.decode(other, TABLE[:, :2]),
    "reconstruct": lambda other: jaxae.reconstruct(other, TABLE),
    "repair": lambda other: jaxae.repair(other, TABLE),
    "sample": lambda other: jaxae.sample(other, jax.random.key(0), 3),
    "posterior": lambda other: jaxae.posterior(other, TABLE),
    "likelihood": lambda other: jaxae.likelihood(other, TABLE[:, :2]),
    "impute": lambda other: jaxae.impute(other, TABLE, missing="nan", key=KEY),
    "interpolate": lambda other: jaxae.interpolate(other, TABLE[:1], TABLE[1:2]),
    "traverse": lambda other: jaxae.traverse(other, TABLE),
    "repair_in_tiles": lambda other: jaxae.repair_in_tiles(other, X),
    "export": lambda other: jaxae.export(other),
    "aggregate_codes": lambda other: samplers.aggregate_codes(other, TABLE, KEY),
    "prior": lambda other: samplers.prior(other),
    "atoms": lambda other: evaluation.atoms(other),
    "evaluate": lambda other: evaluation.evaluate(other, TABLE, KEY),
    "nll_nats": lambda other: evaluation.nll_nats(other, TABLE, KEY),
    "elbo_terms": lambda other: evaluation.elbo_terms(other, TABLE, KEY),
    "sparsity": lambda other: evaluation.sparsity(other, TABLE, KEY),
    "codebook_usage": lambda other: evaluation.codebook_usage(other, TABLE, KEY),
    "posterior_means": lambda other: evaluation.posterior_means(other, TABLE, KEY),
    "quality": lambda other: evaluation.reconstruction_quality(other, TABLE, KEY),
}


@pytest.mark.parametrize("use", NO_MODELS)
def test_what_fit_returns_is_not_the_model_itself(use, fitted):
    with pytest.raises(ArgumentError, match=r"^model must be a Model.*type Fit"):
        NO_MODELS[use](fitted)


def test_what_fit_returns_prints_no_arrays(fitted):
    assert "1 epochs, best_epoch=1" in repr(fitted) and len(repr(fitted)) < 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tx": 1e-3}, "tx"), ({"resume": 3}, "resume")],
)
def test_what_is_no_optimizer_or_no_progress(options, message):
    recipe = recipes.autoencoder((4,), 2)
    with pytest.raises(ArgumentError, match=message):
        jaxae.fit(recipe, TABLE, key=jax.random.key(0), epochs=1, **options)


@pytest.mark.parametrize("part", [nn.Dense, grown])
def test_one_part_is_no_list_of_parts(part, tmp_path):
    message = rf"^parts must be a list .*, as \[MyEncoder\], got .*{part.__name__}"
    with pytest.raises(ArgumentError, match=message):
        jaxae.load(tmp_path, parts=part)


def test_weights_are_numbers():
    with pytest.raises(ArgumentError, match="beta"):
        recipes.vae((4,), 2, beta="a")


def test_large_inputs_are_said(fitted):
    with pytest.warns(UserWarning, match=r"data\['inputs'\] is large"):
        check_data(fitted.model.recipe, {"x": TABLE, "inputs": 1000 * TABLE}, "data")


def test_two_modules_are_a_pair_as_they_are():
    """With a decoder, or with what makes it of a shape."""
    encoder, decoder = networks.MLP((3,)), networks.MLPDecoder((4,), (3,))
    made = [
        recipes.autoencoder((4,), 2, network=(encoder, each))
        for each in (decoder, lambda shape: networks.MLPDecoder(shape, (3,)))
    ]
    assert made[0] == made[1]


# Losses and their metrics


def total(trace):
    return squares(trace).sum(axis=(1, 2, 3))


def and_metric(name):
    return lambda trace, context: (total(trace), {name: total(trace)})


PAIR = r"^an objective's loss must return \(loss \[b\], \{metric: \[b\]\}\), got "
NAMES = r"^a metric must not be called loss, .*validation_\.\.\., as training .* got "
NO_LOSSES = {
    "bare": (lambda trace, context: total(trace), PAIR + r"an array of shape \(2,\)"),
    "list": (lambda trace, context: [total(trace), {}], PAIR + "a value of type list"),
    "nothing": (lambda trace, context: None, PAIR + "a value of type NoneType from"),
    "no mapping": (
        lambda trace, context: (total(trace), None),
        PAIR + "metrics in a value of type NoneType from",
    ),
    "no name": (and_metric(1), PAIR + "metrics in a value of type dict"),
    "no loss": (
        lambda trace, context: (None, {}),
        r"^an objective's loss must have the shape \(2,\), .*got .*NoneType from",
    ),
    "whole": (
        lambda trace, context: (total(trace).astype(jnp.int32), {}),
        r"^an objective's loss must be floats, got int32 from .*Stateless",
    ),
    "no metric": (
        lambda trace, context: (total(trace), {"mean": 0.5}),
        r"^an objective's mean must have the shape .*, got a value of type float",
    ),
    **{
        name: (and_metric(name), rf"{NAMES}\['{name}'\] beside .*Stateless")
        for name in ("loss", "grad_norm", "weight", "seconds", "validation_x")
    },
}


@pytest.mark.parametrize("kind", NO_LOSSES)
def test_a_loss_comes_with_metrics_of_other_names(kind):
    function, message = NO_LOSSES[kind]
    objective = Stateless(function)
    if kind in ("bare", "no loss", "whole"):  # of a sum, too
        objective = Chain((Reconstruction(), objective))
    with pytest.raises(ArgumentError, match=message) as refusal:
        trace_step(RECIPE.replace(objective=objective))
    assert "0x" not in str(refusal.value)


def test_a_metric_does_not_hide_that_of_a_bottleneck():
    recipe = recipes.sparse_autoencoder((2, 2, 1), 3, k=1)
    recipe = recipe.replace(objective=Stateless(and_metric("l0")), hooks=())
    message = r"must log different metrics, twice: \['l0'\]"
    with pytest.raises(ArgumentError, match=message):
        trace_step(recipe)


# Recipes


NO_PARTS = {
    "module": ({"module": nn.Dense(3)}, "^module must be a Family, .* of type Dense$"),
    "objective": (
        {"objective": jaxae.objectives.ELBO},
        r"^objective must be an Objective, such as .*, got the class ELBO$",
    ),
    "loss": ({"objective": total}, "^objective must be .* of type function$"),
    "corruption": (
        {"corruption": jaxae.corruptions.Holes},
        r"^corruption must be a function .*, got the class Holes: make one of it$",
    ),
    "name": ({"corruption": "holes"}, "^corruption must be a function .*, got 'holes'"),
    "prepare": ({"prepare": None}, "^prepare must be a function .*, got None$"),
    "scale": (
        {"prepare": jaxae.preparation.Standardize},
        "^prepare must be .*, got the class Standardize: make one of it$",
    ),
    "list": ({"hooks": [grown]}, r"^hooks must be a tuple .*<function grown>\]$"),
    "hook": ({"hooks": grown}, "^hooks must be a tuple .*, got <function grown>$"),
    "bare corruption": (
        {"corruption": lambda x: (x, None)},
        r"^corruption must be a function \(key, x\) -> .*, got <function .*lambda>>, "
        r"which cannot take \(key, x\): too many positional arguments$",
    ),
    "bare preparation": (
        {"prepare": lambda x: x},
        r"^prepare must be .*, which cannot take \(key, values\): too many",
    ),
    "greedy hook": (
        {"hooks": (lambda state, seen, key, other: state,)},
        r"^hooks\[0\] must be .*\(state, seen, key\): missing a required .* 'other'$",
    ),
    "no hook": ({"hooks": (grown, 3)}, r"^hooks\[1\] must be a function .*, got 3$"),
    "class": ({"hooks": (jaxae.hooks.ResampleDead,)}, "^hooks.*the class ResampleDead"),
    "samples": ({"num_samples": "3"}, "^num_samples must be a whole number"),
}


def test_a_function_that_says_nothing_of_its_arguments_is_taken():
    with pytest.raises(ValueError, match="signature"):
        inspect.signature(max)
    assert RECIPE.replace(corruption=max).corruption is max


@pytest.mark.parametrize("kind", NO_PARTS)
def test_a_recipe_is_made_of_its_parts(kind):
    changes, message = NO_PARTS[kind]
    with pytest.raises(ArgumentError, match=message):
        RECIPE.replace(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Chain((Reconstruction,)), r"^objectives\[0\] must .*the class Recon"),
        (lambda: jaxae.corruptions.Compose(("holes",)), r"^corruptions\[0\] must be"),
        (lambda: recipes.vae((4,), 2, beta=jaxae.schedules.Linear), "beta .*the class"),
        (lambda: recipes.vae((4,), 2, beta=lambda: 1.0), r"^beta .*take \(step\): too"),
        (lambda: Stateless(total), r"^function must .*cannot take \(trace, context\)"),
        (lambda: recipes.vae((4,), 2, beta=jnp.ones(2)), "^beta must be a schedule or"),
        (
            lambda: recipes.autoencoder(
                (4,), 2, network=(nn.Dense(3), lambda shape: 3)
            ),
            "^network's function from .* must return a linen module, got .* type int",
        ),
    ],
)
def test_neither_is_what_has_parts_of_another_kind(make, message):
    with pytest.raises(ArgumentError, match=message) as refusal:
        make()
    assert "0x" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"prepare": lambda key, x: None},
            "^the preparation must keep the shape of x.*got a value of type NoneType",
        ),
        (
            {"prepare": lambda key, x: [x]},
            "^the preparation .*got a value of type list",
        ),
        (
            {"corruption": lambda key, x: (None, None)},
            "^a corruption must keep the shape of x.*got a value of type NoneType",
        ),
        (
            {"corruption": lambda key, x: (x, [True])},
            "^the corruption's mask must be of bool .*got a value of type list",
        ),
        (
            {"corruption": jaxae.corruptions.Compose((lambda key, x: x,))},
            r"^a corruption must return \(damaged x, mask or None\), got .*lambda",
        ),
        (
            {
                "objective": jaxae.objectives.Reconstruction(
                    penalty_weight=lambda s: None
                )
            },
            r"^what a schedule returns must have the shape \(\), one number, got .*Non",
        ),
        (
            {"objective": Reconstruction(penalty_weight=lambda s: jnp.ones(2))},
            r"^what a schedule returns must .*, got \(2,\) from .*lambda",
        ),
        ({"hooks": (lambda *seen: None,)}, "^hook .*lambda.* must return the train st"),
        ({"hooks": (lambda state, *_: state._replace(step=0),)}, "^hook .*must keep"),
    ],
)
def test_what_functions_return_is_named(changes, message):
    with pytest.raises(ArgumentError, match=message) as refusal:
        trace_step(RECIPE.replace(**changes))
    assert "0x" not in str(refusal.value)


def test_a_loop_of_ones_own_wants_a_recipe_with_a_hash():
    listed = RECIPE.module.clone(encoder=nn.Sequential([nn.Dense(3)]))
    recipe, tx = RECIPE.replace(module=listed), optax.sgd(0.1)
    for make in (
        lambda: init_state(recipe, tx, {"x": X}, KEY),
        lambda: make_train_step(recipe, tx),
    ):
        with pytest.raises(ArgumentError, match=r"encoder\.layers is of type list"):
            make()
    with pytest.raises(ArgumentError, match=r"^recipe must be a Recipe"):
        make_train_step(RECIPE.module, tx)
