"""What a subclass of a library's base must define, and what its methods must take."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen as nn

import jaxae
from jaxae import recipes
from jaxae.bottlenecks import Bottleneck
from jaxae.bottlenecks.base import exact
from jaxae.errors import ArgumentError
from jaxae.likelihoods.base import UNIT_INTERVAL, Likelihood
from jaxae.models.family import Family
from jaxae.objectives import Weight
from tests.test_bad_models import KEY, SMALL, X, model_of, normal, trace_model

pytestmark = pytest.mark.usefixtures("as_users_call_it")


# What a base leaves to its subclasses


def of(base, **fields):
    return type("Bare", (base,), fields)()


BARE = {
    "Objective": lambda: of(jaxae.Objective).loss({}, None, None),
    "Bottleneck": lambda: trace_model(model_of(bottleneck=of(Bottleneck))),
    "Bottleneck.prior": lambda: of(Bottleneck).prior(),
    "Bottleneck.embed": lambda: of(Bottleneck).embed(jnp.zeros(3, int)),
    "Likelihood": lambda: trace_model(
        model_of(likelihood=of(Likelihood, values=UNIT_INTERVAL))
    ),
    "Schedule": lambda: of(jaxae.schedules.Schedule)(0),
    "Corruption": lambda: of(jaxae.corruptions.Corruption)(KEY, X),
    "Scale.forward": lambda: of(jaxae.preparation.Scale)(KEY, X),
    "Scale.inverse": lambda: of(jaxae.preparation.Scale).inverse(X),
    "Pair.encoder": lambda: recipes.vae(SMALL, 2, network=of(jaxae.networks.Pair)),
    "Pair.decoder": lambda: of(jaxae.networks.Pair).decoder(SMALL),
    "Family.generative": lambda: of(Family).generative,
    "Family.encode": lambda: of(Family)({"inputs": X, "x": X}, KEY),
    "Family.decode": lambda: of(Family).decode((X,), {}),
    "Family.prior_below": lambda: of(Family).prior_below((), {}),
    "Family.posterior_below": lambda: of(Family).posterior_below((), {}),
    "Family.sample_codes": lambda: of(Family).sample_codes(KEY, 1, {}),
    "Family.embed": lambda: of(Family).embed(X),
}
ALONE = {"Objective": "loss", "Bottleneck": "code", "Likelihood": "elementwise"}


@pytest.mark.parametrize("kind", BARE)
def test_what_a_subclass_must_define_is_said(kind):
    method = kind.partition(".")[2] or ALONE.get(kind, "__call__")
    message = rf"(?m)^Bare must define .*{method}\b.*, which returns \S"
    with pytest.raises(NotImplementedError, match=message):
        BARE[kind]()


# What a subclass defines


def wrapped(function):
    """A decorator that takes what the library gives, and gives the function less."""

    @functools.wraps(function)
    def loss(self, params, trace, context):
        return function(self, trace)

    return loss


class Mixin:
    def loss(self, trace): ...


SHORT = r"must take \(self, params, trace, context\), as Objective\.loss does: too many"
# name: (base, what stands there in its place, the message)
OVERRIDDEN = {
    "loss": (jaxae.Objective, lambda self, trace: None, f"^Own.*trace\\) {SHORT}"),
    "loss, static": (jaxae.Objective, staticmethod(lambda trace: None), SHORT),
    "loss, compiled": (jaxae.Objective, jax.jit(lambda self, trace: None), SHORT),
    "loss, a field": (
        jaxae.Objective,
        1.0,
        "be a method of .*, got a value of type flo",
    ),
    "code": (
        Bottleneck,
        lambda self, h: None,
        r"must take \(self, h, weight\), as Bot",
    ),
    "code, a property": (
        Bottleneck,
        property(exact),
        "be a method .*, got a property$",
    ),
    "elementwise": (
        jaxae.likelihoods.Gaussian,
        lambda self, parameters: None,
        r"must take \(self, parameters, target\), as Gaussian\.elementwise does",
    ),
    "encode": (
        Family,
        lambda self, batch, key: None,
        "got an unexpected .*num_samples",
    ),
    "__call__": (
        jaxae.corruptions.Corruption,
        lambda self, x: None,
        r"Own\.__call__\(self, x\) must take \(self, key, x\), as",
    ),
    "num_codes": (
        Bottleneck,
        lambda self: 7,
        r"^Own\.num_codes must be a property or a value, as Bottl",
    ),
    "stochastic": (
        Bottleneck,
        classmethod(lambda cls: True),
        "be a property or a value",
    ),
}


@pytest.mark.parametrize("kind", OVERRIDDEN)
def test_what_a_subclass_defines_is_called_as_in_the_library(kind):
    base, own, message = OVERRIDDEN[kind]
    with pytest.raises(ArgumentError, match=message):
        type("Own", (base,), {kind.partition(",")[0]: own})


def test_so_is_what_comes_from_another_base():
    with pytest.raises(ArgumentError, match=SHORT):
        type("Own", (Mixin, jaxae.Objective), {})


def test_a_subclass_may_take_more_and_networks_less():
    class Own(Bottleneck):
        num_codes: int = 7  # in the place of a property

        def code(self, h, *others, **options):
            return exact(h)

        @staticmethod
        def prior():
            return normal(1, 1, 2)

    class Net(jaxae.networks.MLP):
        def __call__(self, x):
            return x

    class Weighed(jaxae.objectives.ELBO):
        beta: Weight = optax.linear_schedule(0.0, 1.0, 10)  # a function, as a field
        act: Callable = nn.relu

        loss = wrapped(lambda self, trace: None)

    class Further(Weighed):
        act: Callable = len

    assert Own().num_codes == 7 and Own().prior() and Net((3,))(X) is X
    assert Further().beta(10) == 1.0
