"""Networks, bottlenecks, priors, likelihoods and whole families of the user's own are
looked at when they are first traced; what they may leave out is left out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from numpyro import distributions as dist

import jaxae
from jaxae import recipes
from jaxae.bottlenecks import Bottleneck
from jaxae.bottlenecks.base import exact
from jaxae.distributions import Normal
from jaxae.errors import ArgumentError
from jaxae.likelihoods.base import UNIT_INTERVAL, Likelihood
from jaxae.models.family import Family
from jaxae.training import init_state
from jaxae.views import Plain, View

pytestmark = pytest.mark.usefixtures("as_users_call_it")

KEY = jax.random.key(0)
X = np.random.default_rng(0).uniform(size=(6, 2, 2, 1)).astype(np.float32)


def train(recipe):
    return jaxae.fit(recipe, X, key=KEY, epochs=1, batch_size=6, progress=False)


# Networks


class Silent(nn.Module):
    """Does not ask whether it is training."""

    width: int = 3

    @nn.compact
    def __call__(self, x):
        return nn.tanh(nn.Dense(self.width)(x.reshape(len(x), -1)))


class Told(nn.Module):
    """Asks, and notes what it is told in place of statistics."""

    @nn.compact
    def __call__(self, x, *, train):
        told = self.variable("batch_stats", "told", lambda: jnp.zeros(()))
        if train:
            told.value = jnp.ones(())
        return nn.Dense(3)(x.reshape(len(x), -1))


class Image(nn.Module):
    """A decoder that does not ask."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z):
        return nn.Dense(int(np.prod(self.shape)))(z).reshape(len(z), *self.shape)


SEQUENCE = nn.Sequential((Silent(4), nn.relu, nn.Dense(3)))
NETWORKS = {"own": Silent(), "several": SEQUENCE, "layer": nn.Dense(3), "told": Told()}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_need_not_ask_whether_they_train(name):
    recipe = recipes.autoencoder((2, 2, 1), 2, network=(NETWORKS[name], Image))
    model = train(recipe).model
    assert jaxae.reconstruct(model, X).shape == X.shape
    if name == "told":
        assert model.variables["batch_stats"]["encoder"]["told"] == 1


def test_a_list_of_layers_is_named():
    layers = nn.Sequential([nn.Dense(3)])
    recipe = recipes.autoencoder((2, 2, 1), 2, network=(layers, Image))
    message = (
        r"^recipe\.module\.encoder\.layers is of type list.* give a tuple in place"
    )
    with pytest.raises(ArgumentError, match=message):
        train(recipe)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": Silent()}, r"network must be one of mlp, conv, a pair"),
        ({"network": (Silent(),)}, r"network must be .*\(encoder, decoder or"),
        ({"network": (Silent(), (2, 2, 1))}, "network must be .*function from"),
        ({"network": (Image, Silent())}, "network must be"),
        ({"network": 512}, r"network must be .*, got 512"),
        ({"likelihood": 1.0}, r"likelihood must be a name or one of .*, got 1.0"),
        (
            {"likelihood": jaxae.likelihoods.Gaussian},
            r"likelihood must be .*Gaussian\(",
        ),
    ],
)
def test_what_is_no_part_is_named_where_it_is_given(options, message):
    with pytest.raises(ArgumentError, match=message):
        recipes.autoencoder((2, 2, 1), 2, **options)


# What the parts of a model return


class Returning(nn.Module):
    """A network that returns what a function makes of its outputs."""

    made: object
    width: int = 3

    @nn.compact
    def __call__(self, x):
        return self.made(nn.Dense(self.width)(x.reshape(len(x), -1)))


class Asking(nn.Module):
    """A network that asks for what nobody gives."""

    @nn.compact
    def __call__(self, x, other, *, train):
        return nn.Dense(3)(x)


class Mute(nn.Module):
    """A network that cannot be called."""


class OwnCode(Bottleneck):
    made: object

    def code(self, h, weight):
        return self.made(h)


class OwnCall(OwnCode):
    def __call__(self, h, key, **options):
        return self.made(h)


class OwnPrior(nn.Module):
    made: object

    @nn.compact
    def __call__(self, posterior_of):
        return self.made()


class OwnLikelihood(Likelihood):
    made: object
    values = UNIT_INTERVAL

    def elementwise(self, parameters, target):
        return self.made(parameters)


class Blind(View):
    def encoder(self, batch):
        batch["inputs"].mean()


SMALL = (4, 4, 1)
CODE = jaxae.bottlenecks.Deterministic(2)


def model_of(**parts):
    usual = {
        "encoder": Silent(),
        "bottleneck": CODE,
        "decoder": Image(SMALL),
        "likelihood": jaxae.likelihoods.Bernoulli(),
    }
    return jaxae.AutoEncoder(shape=SMALL, **usual | parts)


def trace_model(module):
    """The model alone, of two examples and three samples; nothing is computed."""
    seen = {name: jnp.ones((2, *SMALL)) for name in ("x", "inputs")}
    rngs = {"params": KEY, "dropout": KEY}
    jax.eval_shape(
        lambda: module.init_with_output(rngs, seen, KEY, num_samples=3, train=True)
    )


def normal(*shape):
    return Normal(jnp.zeros(shape), jnp.ones(shape)).to_event(len(shape) - 2)


def posterior(*shape):
    return lambda h: exact(h, posterior=normal(*shape))


def with_latent(**fields):
    return lambda h: exact(h)._replace(**fields)


RETURNED = {
    "no features": (
        {"encoder": Returning(lambda h: None)},
        r"^what the encoder Returning returns must have the shape \(2, \.\.\.\): "
        r"features of every example, got a value of type NoneType$",
    ),
    "a pair": ({"encoder": Returning(lambda h: (h, h))}, "got a value of type tuple"),
    "one row": ({"encoder": Returning(lambda h: h[:1])}, r"\(2, \.\.\.\).*got \(1, 3"),
    "a number": ({"encoder": Returning(jnp.sum)}, r"encoder .*got \(\)$"),
    "whole": ({"encoder": Returning(jnp.int32)}, "must be floats, got int32"),
    "no latent": (
        {"bottleneck": OwnCode(lambda h: h)},
        r"^OwnCode must return a Latent, as `exact` .*, got an array of shape \(2, 3",
    ),
    "nothing": ({"bottleneck": OwnCall(lambda h: None)}, "^OwnCall must .*NoneType$"),
    "one code for all": (
        {"bottleneck": OwnCode(lambda h: exact(h[:1]))},
        r"^z of OwnCode must have the shape \(1, 2, \.\.\.\): samples .*, "
        r"got \(1, 1, 3\)$",
    ),
    "of a call": (
        {"bottleneck": OwnCall(lambda h: exact(h[:1]))},
        r"^z of OwnCall must have .*got \(1, 1, 3\)$",
    ),
    "no samples": (
        {"bottleneck": OwnCode(with_latent(z=jnp.ones((2, 2))))},
        r"^z of OwnCode must have the shape \(1, 2, \.\.\.\).*got \(2, 2\)$",
    ),
    "no mean": ({"bottleneck": OwnCode(with_latent(mean=None))}, "^mean of OwnCode"),
    "another mean": (
        {"bottleneck": OwnCode(with_latent(mean=jnp.ones((2, 4))))},
        r"^mean of OwnCode must have the shape \(2, 3\): .*got \(2, 4\)$",
    ),
    "no sample axis": (
        {"bottleneck": OwnCode(posterior(2, 3))},
        r"^posterior of OwnCode must have the batch shape \(1, 2\), got \(2, 3\)$",
    ),
    "other codes": (
        {"bottleneck": OwnCode(posterior(1, 2, 4))},
        r"^posterior of OwnCode must be of codes of shape \(3,\), .*\(4,\)$",
    ),
    "no density": (
        {"bottleneck": OwnCode(with_latent(posterior=jnp.ones((1, 2, 3))))},
        "^posterior of OwnCode must be a distribution of numpyro, got an array of",
    ),
    "one penalty": (
        {"bottleneck": OwnCode(with_latent(penalty=jnp.ones(())))},
        r"^penalty of OwnCode must have the shape \(2,\), got \(\)$",
    ),
    "one metric": (
        {"bottleneck": OwnCode(with_latent(metrics={"size": jnp.ones(1)}))},
        r"^size of OwnCode must have the shape \(2,\), got \(1,\)$",
    ),
    "one that asks": (
        {"encoder": Asking()},
        "^Asking must take what the view shows, and may name train and weight, but "
        "cannot be called so: missing a required argument: 'other'$",
    ),
    "a decoder that asks": ({"decoder": Asking()}, "^Asking must .* 'other'$"),
    "no call": ({"encoder": Mute()}, "^Mute must .*: it has no __call__$"),
    "no outputs": (
        {"decoder": Returning(lambda h: None)},
        r"^what the decoder Returning returns must have the shape \(2, 4, 4, 1\): the "
        "parameters of Bernoulli for every code, got a value of type NoneType$",
    ),
    "flat outputs": (
        {"decoder": Returning(lambda h: h, 16)},
        r"\(2, 4, 4, 1\).*got \(2, 16\)$",
    ),
    "few parameters": (
        {"likelihood": jaxae.likelihoods.Gaussian("per_value")},
        r"^what the decoder Image .*\(2, 4, 4, 2\).*Gaussian.*got \(2, 4, 4, 1\)$",
    ),
    "no distribution": (
        {"likelihood": OwnLikelihood(lambda p: p[..., 0])},
        "^elementwise of OwnLikelihood must return a distribution of numpyro, got",
    ),
    "of parameters": (
        {"likelihood": OwnLikelihood(lambda p: dist.Normal(p, 1.0))},
        r"^elementwise of OwnLikelihood must .*\(1, 2, 4, 4, 1\), one for every value",
    ),
    "no prior": (
        {"prior": OwnPrior(lambda: None)},
        "^prior of OwnPrior must be a distribution of numpyro, got .*NoneType$",
    ),
    "flat prior": (
        {"prior": OwnPrior(lambda: normal(2, 2).to_event(2))},
        r"^prior must have the batch shape \(1, 1 or 2\), got \(\)$",
    ),
    "a prior that asks": (
        {"prior": Asking()},
        r"^Asking must take the function x -> q\(z \| x\), and may name shown and "
        "fields, but cannot be called so: missing a required argument: 'other'$",
    ),
    "no view": (
        {"view": Blind()},
        r"^view must show something, Blind\.encoder returned None$",
    ),
    "a class": ({"encoder": Silent}, "^encoder must be a .*, got the class Silent$"),
    "a function": ({"decoder": len}, "^decoder must be a linen module, got a value of"),
    "a name": ({"likelihood": "bernoulli"}, "^likelihood must be one of .* type str$"),
    "no bottleneck": ({"bottleneck": nn.Dense(2)}, "^bottleneck must be one of .*Dens"),
    "a distribution": ({"prior": normal(1, 1, 2)}, "^prior must be a linen module, as"),
}


@pytest.mark.parametrize("kind", RETURNED)
def test_what_a_part_of_a_model_returns_is_named(kind):
    parts, message = RETURNED[kind]
    # JAX adds lines of its own.
    with pytest.raises(ArgumentError, match=f"(?m){message}"):
        trace_model(model_of(**parts))


def test_parts_that_return_the_right_shapes_are_traced():
    own = OwnCode(posterior(1, 2, 3))
    prior = OwnPrior(lambda: normal(1, 1, 3))
    likelihood = OwnLikelihood(lambda p: dist.Normal(p[..., 0], 1.0))
    trace_model(model_of(bottleneck=own, prior=prior, likelihood=likelihood))


# What makes a part


MAKERS = {
    "of nothing": (
        lambda: Image(SMALL),
        "a function from the outputs' shape to one: too",
    ),
    "of more": (lambda shape, width: Image(shape), "missing a required argument: 'wi"),
    "no module": (
        lambda shape: shape,
        "must return a linen module, got a value of type",
    ),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_what_makes_a_decoder_of_the_shape_is_looked_at(kind):
    make, message = MAKERS[kind]
    with pytest.raises(ArgumentError, match=message):
        recipes.vae(SMALL, 2, network=(Silent(), make))


def test_a_class_makes_one_too():
    assert recipes.vae(SMALL, 2, network=(Silent(), Image)).module.decoder


CRITICS = {
    "that asks": (
        Asking(),
        "^Asking must take the examples alone, but cannot be called",
    ),
    "one number": (Returning(jnp.sum), r"^what the critic Returning returns must have"),
}


@pytest.mark.parametrize("kind", CRITICS)
def test_so_is_a_critic_of_examples(kind):
    critic, message = CRITICS[kind]
    recipe = recipes.vae_gan(SMALL, 2, network=(Silent(), Image), critic=critic)
    data = {"x": jnp.ones((2, *SMALL))}
    with pytest.raises(ArgumentError, match=f"(?m){message}"):
        init_state(recipe, optax.sgd(0.1), data, KEY)


def test_a_model_that_has_no_hash_is_named_where_it_is_used():
    listed = model_of(encoder=Returning([3]))
    recipe = jaxae.Recipe(listed, jaxae.objectives.Reconstruction())
    model = jaxae.Model(recipe, {"params": {}})
    named = r"^model\.recipe\.module\.encoder\.made is of type list, which cannot be ha"
    for use in (jaxae.encode, jaxae.reconstruct):
        with pytest.raises(ArgumentError, match=named):
            use(model, np.zeros((2, *SMALL), np.float32))


# Families


class OwnFamily(Family):
    """Its code is x itself, unless functions say otherwise."""

    shape: tuple[int, ...] = SMALL
    likelihood: Likelihood = jaxae.likelihoods.Bernoulli()
    view: View = Plain()
    code: object = lambda x: (exact(x),)
    density: object = lambda z: normal(*z.shape)

    def encode(self, batch, key, **options):
        return self.code(batch["inputs"])

    def decode(self, codes, batch, **options):
        return self.density(codes[0])


NO_FAMILIES = {
    "no tuple": (
        {"code": exact},
        "^encode of OwnFamily must return a tuple of Latents, the top one first, "
        "got a value of type Latent$",
    ),
    "no latent": ({"code": lambda x: (x,)}, "^OwnFamily must return a Latent, as"),
    "one code for all": (
        {"code": lambda x: (exact(x), exact(x[:1]))},
        r"^z of OwnFamily must have the shape \(1, 2, \.\.\.\)",
    ),
    "no distribution": (
        {"density": lambda z: z},
        r"^p\(x \| z\) of OwnFamily must be a distribution of numpyro, got an array of",
    ),
    "of no samples": (
        {"density": lambda z: normal(*z.shape[1:])},
        r"^p\(x \| z\) of OwnFamily must have the batch shape \(1, 2\), got \(2, 4\)$",
    ),
    "of another x": (
        {"density": lambda z: normal(1, 2, 16)},
        r"^p\(x \| z\) of OwnFamily must be of x of shape \(4, 4, 1\), got \(16,\)$",
    ),
}


@pytest.mark.parametrize("kind", NO_FAMILIES)
def test_what_a_family_of_ones_own_returns_is_named(kind):
    parts, message = NO_FAMILIES[kind]
    with pytest.raises(ArgumentError, match=f"(?m){message}"):
        trace_model(OwnFamily(**parts))


def test_a_right_one_is_traced():
    trace_model(OwnFamily())
