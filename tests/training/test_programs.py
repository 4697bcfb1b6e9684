"""Equal recipes share what was compiled; whatever differs is compiled anew."""

import jax
import numpy as np
import optax
import pytest

from jaxae import Objective, Parallel, encode, fit, networks, recipes, reconstruct
from jaxae.evaluation import evaluate
from jaxae.objectives import ELBO
from jaxae.preparation import MinMax
from jaxae.training.parallel import make_mesh, replicated
from jaxae.training.programs import default_optimizer

X = np.random.default_rng(0).uniform(size=(8, 4)).astype(np.float32)
TRACED, COMPILED = [], []


def note(event, duration, **_):
    if event.endswith("backend_compile_duration"):
        COMPILED.append(event)


jax.monitoring.register_event_duration_secs_listener(note)


class Counting(Objective):
    """The ELBO; notes the batch size of every call, which is every trace."""

    beta: float = 1.0

    def loss(self, params, trace, context):
        TRACED.append(trace.target.shape[0])
        return ELBO(self.beta).loss(params, trace, context)


def recipe_of(beta=1.0, latent_dim=2, **options):
    """Made anew at every call."""
    network = networks.FullyConnected((3,))
    recipe = recipes.vae((4,), latent_dim, network=network, **options)
    return recipe.replace(objective=Counting(beta))


def train(recipe, data=X, **options):
    """(batch sizes that were traced, programs compiled, the loss of the last epoch)."""
    options = {"epochs": 2, "batch_size": 4, "progress": False} | options
    options.setdefault("parallel", ONE)
    TRACED.clear()
    COMPILED.clear()
    result = fit(recipe, data, key=jax.random.key(0), **options)
    return list(TRACED), len(COMPILED), result.history[-1]["loss"]


ONE = Parallel(make_mesh(devices=jax.devices()[:1]), replicated)
JUDGED = {"validation": X}


@pytest.fixture(scope="module")
def first():
    """The programs of one recipe, and what its training came to."""
    traced, compiled, loss = train(recipe_of(), **JUDGED)
    # The step and the validation, each for batches of 4 alone.
    assert traced == [4, 4] and compiled > 2
    return loss


def test_an_equal_recipe_is_not_traced_again(first):
    assert train(recipe_of(), **JUDGED) == ([], 0, first)
    assert train(recipe_of(), **JUDGED, epochs=2, max_skipped=3) == ([], 0, first)


def test_without_validation_the_programs_are_the_same(first):
    traced, compiled, loss = train(recipe_of())
    assert (traced, loss) == ([], first)
    assert compiled == 0


def test_other_values_need_no_other_program(first):
    traced, compiled, loss = train(recipe_of(), 0.5 * X, **JUDGED)
    assert (traced, compiled) == ([], 0) and loss != first


@pytest.mark.parametrize(
    "changed",
    [
        {"recipe": recipe_of(beta=2.0)},
        {"recipe": recipe_of(latent_dim=3)},
        {"tx": optax.adam(1e-2)},
        {"accumulate": 2},
    ],
    ids=["weight", "size", "optimizer", "parts"],
)
def test_what_differs_is_traced_anew(first, changed):
    options = JUDGED | {"recipe": recipe_of()} | changed
    traced, compiled, loss = train(**options)
    assert 4 in traced and compiled > 0 and loss != first
    assert train(**options) == ([], 0, loss)


def test_another_batch_size_is_traced_anew(first):
    traced, _, _ = train(recipe_of(), batch_size=3)
    assert traced == [3, 2]  # and what is left over
    assert train(recipe_of(), batch_size=3)[0] == []
    assert train(recipe_of(), **JUDGED)[:2] == ([], 0)


def test_streams_share_their_step():
    batches = [X[:4], X[4:]]
    traced, _, loss = train(recipe_of(), batches)
    assert traced == [4]
    assert train(recipe_of(), batches) == ([], 0, loss)
    # A batch of another size is a trace of the same step, which is kept too.
    assert train(recipe_of(), [X[:4], X[4:6]])[0] == [2]
    assert train(recipe_of(), [X[:4], X[4:6]])[:2] == ([], 0)


@pytest.mark.parametrize("form", ["array", "stream"])
def test_other_numbers_of_a_scale_need_no_other_program(form):
    """As in a grid search, each of whose folds has a mean of its own."""

    def use(x):
        """What is made of x, in its units, its scale, and the error."""
        TRACED.clear()
        COMPILED.clear()
        data = x if form == "array" else [x[:4], x[4:]]
        recipe = recipe_of(likelihood="gaussian").replace(prepare=MinMax())
        options = {"epochs": 2, "batch_size": 4, "progress": False, "parallel": ONE}
        key = jax.random.key(0)
        model = fit(recipe, data, key=key, validation=x, **options).model
        encode(model, x)
        numbers = evaluate(model, x, key, nll_samples=2)
        return reconstruct(model, x), model.recipe.prepare, numbers["mse"]

    expected, known, mse = use(X)
    # The same training, as a power of 2 changes no rounding.
    made, scale, same = use(4.0 * X)
    assert (TRACED, COMPILED) == ([], []) and scale != known
    np.testing.assert_allclose(made, 4.0 * expected, rtol=1e-5)
    assert same == pytest.approx(mse, rel=1e-5)


def test_an_optimizer_that_is_not_given_is_one_object():
    assert default_optimizer() is default_optimizer()


def test_a_function_is_equal_to_itself_alone():
    """Two lambdas differ, whatever they compute: nobody can tell."""

    def halved(key, x):
        return 0.5 * x, None

    recipe = recipe_of(beta=3.0)
    loss = train(recipe.replace(corruption=halved))[2]
    assert train(recipe_of(beta=3.0).replace(corruption=halved)) == ([], 0, loss)
    again = recipe.replace(corruption=lambda key, x: (0.5 * x, None))
    traced, _, same = train(again)
    assert traced == [4] and same == loss
