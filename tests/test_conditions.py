"""What networks are shown beside x: declared by a view, brought by the data by name."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from optax import adam

import jaxae
from jaxae import networks, recipes
from jaxae.corruptions import GaussianNoise
from jaxae.distributions.elementwise import Normal
from jaxae.evaluation import evaluate
from jaxae.inputs import check_data
from jaxae.models.family import call
from jaxae.objectives.elbo import rate
from jaxae.priors import ConditionalPrior, VampPrior
from jaxae.recipe import Model
from jaxae.views import PARTS, Chain, Condition, Field, MaskChannel, View

KEY, COUNT = jax.random.key(0), 12
RNG = np.random.default_rng(0)
NETWORK = networks.FullyConnected((8,))
VIEW = Chain((Condition("label", 3), Condition("age"), Condition("scan", shape=(2,))))
FIT = {"key": KEY, "epochs": 2, "batch_size": 6, "progress": False}
X = RNG.random((COUNT, 4)).astype(np.float32)
SHOWN = {
    "label": np.arange(COUNT) % 3,
    "age": RNG.random(COUNT),
    "scan": RNG.random((COUNT, 2)),
}


def with_view(view, shape=(4,), **options):
    recipe = recipes.vae(shape, 2, network=NETWORK, likelihood="gaussian", **options)
    return recipe.replace(module=recipe.module.clone(view=view))


def encoded(model, batch):
    """Its latents, one program for all of it."""
    encode = jax.jit(partial(call, model.module, method="encode"))
    return encode(model.variables, batch, KEY)


@pytest.fixture(scope="module")
def model():
    return jaxae.fit(with_view(VIEW), {"x": X, **SHOWN}, **FIT).model


def test_all_that_is_declared_is_appended_in_order():
    batch = {"inputs": jnp.asarray(X), **jax.tree.map(jnp.asarray, SHOWN)}
    one_hot = np.eye(3)[SHOWN["label"]]
    beside = np.concatenate([one_hot, SHOWN["age"][:, None], SHOWN["scan"]], axis=1)
    shown = VIEW.encoder(batch)
    np.testing.assert_allclose(shown, np.concatenate([X, beside], 1), rtol=1e-6)
    z = jnp.ones((COUNT, 2))
    np.testing.assert_allclose(VIEW.decoder(z, batch)[:, 2:], beside, rtol=1e-6)


def test_images_get_planes_and_images():
    x = jnp.ones((2, 3, 3, 1))
    picture = jnp.arange(36.0).reshape(2, 3, 3, 2)
    batch = {"inputs": x, "age": jnp.asarray([5.0, 7.0]), "other": picture}
    view = Chain((Condition("age"), Condition("other", shape=(3, 3, 2))))
    shown = np.asarray(view.encoder(batch))
    np.testing.assert_array_equal(shown[1, :, :, 1], 7.0)
    np.testing.assert_array_equal(shown[..., 2:], picture)
    flat = view.decoder(jnp.ones((2, 1)), batch)
    np.testing.assert_array_equal(flat[:, 2:], picture.reshape(2, -1))
    smaller = {**batch, "inputs": jnp.ones((2, 2, 2, 1))}
    with pytest.raises(jaxae.ArgumentError, match="the shape of 'other' must be"):
        view.encoder(smaller)


def test_each_of_them_changes_code_and_reconstruction(model):
    codes = jaxae.encode(model, X, **SHOWN)
    made = jaxae.decode(model, codes, **SHOWN)
    other = {"label": 2 - SHOWN["label"], "age": -SHOWN["age"], "scan": -SHOWN["scan"]}
    for name, values in other.items():
        changed = {**SHOWN, name: values}
        assert (jaxae.encode(model, X, **changed) != codes).any()
        assert (jaxae.decode(model, codes, **changed) != made).any()
    assert jaxae.sample(model, KEY, COUNT, **SHOWN).shape == X.shape
    walks = jaxae.interpolate(model, X, X[::-1], steps=3, **SHOWN)
    assert walks.shape == (COUNT, 3, 4)
    numbers = evaluate(model, {"x": X, **SHOWN}, KEY, nll_samples=5)
    assert np.isfinite(numbers["nll_nats"])
    parts = jaxae.export(model, platforms=("cpu",))
    assert set(parts["decoder"].inputs) == {"codes", "label", "age", "scan"}


def test_who_is_shown_it():
    data = {"x": X, "label": SHOWN["label"]}
    blind = with_view(Condition("label", 3, to=("decoder",)))
    model = jaxae.fit(blind, data, **FIT).model
    first, second = np.zeros(COUNT, int), np.ones(COUNT, int)
    codes = jaxae.encode(model, X, label=first)
    np.testing.assert_array_equal(codes, jaxae.encode(model, X, label=second))
    made = [jaxae.decode(model, codes, label=label) for label in (first, second)]
    assert (made[0] != made[1]).any()


def test_a_prior_of_posteriors_with_conditions_of_the_encoder():
    """p(z) = (1/m) Σ_i q(z | u_i, c_i): categories in turns, numbers learned."""
    conditions = (Condition("label", 3), Condition("age"))
    recipe = recipes.vamp_vae(
        (4,), 2, components=5, network=NETWORK, conditions=conditions
    )
    shown = {name: SHOWN[name] for name in ("label", "age")}
    model = jaxae.fit(recipe, {"x": X, **shown}, **FIT).model
    own = model.variables["params"]["prior"]
    assert own["pseudo_age"].shape == (5,)
    alike = {"x": np.clip(own["pseudo_inputs"], 0, 1), "label": np.arange(5) % 3}
    q = jaxae.posterior(model, **alike, age=own["pseudo_age"])
    first = {name: values[:1] for name, values in shown.items()}
    (latent,) = encoded(model, {"inputs": X[:1], **first})
    each = q.log_prob(latent.z[0])[0]
    np.testing.assert_allclose(
        latent.prior.log_prob(latent.z)[0, 0],
        jax.scipy.special.logsumexp(each) - np.log(5.0),
        rtol=1e-5,
    )
    assert jaxae.sample(model, KEY, COUNT, **shown).shape == X.shape


def test_all_combinations_of_categories_have_a_pseudo_input():
    view = Chain((Condition("label", 2), Condition("sides", 3, shape=(2,))))
    fields = view.fields
    found = {}

    def posterior_of(x, conditions):
        found.update(conditions)
        zeros = jnp.zeros((1, len(x), 2))
        return Normal(zeros, zeros + 1.0).to_event(1)

    VampPrior((4,), 18).init_with_output(KEY, posterior_of, fields)
    assert found["label"].shape == (18,) and found["sides"].shape == (18, 2)
    rows = np.column_stack([found["label"], found["sides"]])
    assert len(np.unique(rows, axis=0)) == 18 and rows.max(axis=0).tolist() == [1, 2, 2]
    few = "components must be at least 18, one for each combination .*'label', 'sides'"
    with pytest.raises(jaxae.ArgumentError, match=few):
        VampPrior((4,), 17).init(KEY, posterior_of, fields)


def test_what_a_prior_is_shown_has_to_be_there_and_its_codes_those_of_the_model():
    module = conditional(conditional_prior=True).module
    with pytest.raises(jaxae.ArgumentError, match="view must show ConditionalPrior so"):
        module.clone(view=Condition("label", 2))
    recipe = conditional(conditional_prior=True)
    other = recipe.replace(module=module.clone(prior=ConditionalPrior(3)))
    data = {"x": X[:, :1], "label": SHOWN["label"] % 2}
    with pytest.raises(
        jaxae.ArgumentError, match=r"prior must be one of codes of shape \(1,\), got"
    ):
        jaxae.fit(other, data, **FIT)
    with pytest.raises(jaxae.ArgumentError, match="a UNet has none"):
        recipes.unet((8, 8, 1), conditions=(Condition("age", to=PARTS),))


def conditional(**options):
    return recipes.conditional_vae(
        (1,), 1, num_labels=2, network=NETWORK, likelihood="gaussian", **options
    )


def test_a_prior_that_depends_on_the_label():
    """x is ±3 as the label says, so are codes, which have no other way to say it."""
    blind = Condition("label", 2, to=("prior",))
    recipe = conditional(conditional_prior=True)
    recipe = recipe.replace(module=recipe.module.clone(view=blind))
    label = np.arange(64) % 2
    rng = np.random.default_rng(3)
    x = (6.0 * label - 3.0 + 0.1 * rng.normal(size=64))[:, None].astype(np.float32)
    data = {"x": x, "label": label}
    start = jaxae.init(recipe, KEY)
    codes = jaxae.inference.sample_codes(start, KEY, 64, label=label)
    standard = jax.random.normal(KEY, (1, 1, 64, 1))
    np.testing.assert_allclose(codes, standard[0, 0], rtol=1e-6)
    model = jaxae.fit(
        recipe, data, key=KEY, epochs=150, batch_size=64, tx=adam(0.02), progress=False
    ).model
    made = np.asarray(jaxae.sample(model, KEY, 64, label=label))
    assert np.abs(made[label == 1].mean() - 3.0) < 0.5
    assert np.abs(made[label == 0].mean() + 3.0) < 0.5
    # Neither network is asked for it.
    assert jaxae.decode(model, jaxae.encode(model, x)).shape == x.shape
    draw = jaxae.samplers.prior(model, label=label)
    assert draw(KEY, 64).shape == (64, 1)
    bound = evaluate(model, data, KEY, nll_samples=50)
    swapped = evaluate(model, {"x": x, "label": 1 - label}, KEY, nll_samples=50)
    assert bound["nll_nats"] + 1.0 < swapped["nll_nats"]


def test_the_rate_is_that_of_the_conditional_prior():
    recipe = conditional(conditional_prior=True)
    params = jaxae.init(recipe, KEY).variables
    last = params["params"]["prior"]["Dense_1"]
    last["bias"] = jnp.asarray([0.7, -0.3])  # mean, log std
    model = jaxae.Model(recipe, params)
    batch = {"x": X[:, :1], "inputs": X[:, :1], "label": SHOWN["label"] % 2}
    (latent,) = encoded(model, batch)
    q = latent.posterior.base_dist
    mean, std = np.asarray(q.loc[0, :, 0]), np.asarray(q.scale[0, :, 0])
    gap = np.square(std) + np.square(mean - 0.7)
    expected = -0.3 - np.log(std) + gap / (2 * np.exp(-0.6)) - 0.5
    np.testing.assert_allclose(rate(latent), expected, rtol=1e-5)


def test_categories_as_learned_vectors():
    view = Condition("label", 3, embedding=2)
    model = jaxae.fit(with_view(view), {"x": X, "label": SHOWN["label"]}, **FIT).model
    table = model.variables["params"]["embeddings_label"]["embedding"]
    assert table.shape == (3, 2)
    first = model.variables["params"]["encoder"]["Dense_0"]["kernel"]
    assert first.shape == (4 + 2, 8)
    as_numbers = with_view(Condition("label", shape=(2,)))
    params = {k: v for k, v in model.variables["params"].items() if "embed" not in k}
    same = jaxae.Model(as_numbers, {"params": params})
    vectors = np.asarray(table)[SHOWN["label"]]
    np.testing.assert_allclose(
        jaxae.encode(model, X, label=SHOWN["label"]),
        jaxae.encode(same, X, label=vectors),
        rtol=1e-6,
    )
    codes = np.zeros((COUNT, 2), np.float32)
    np.testing.assert_allclose(
        jaxae.decode(model, codes, label=SHOWN["label"]),
        jaxae.decode(same, codes, label=vectors),
        rtol=1e-6,
    )
    assert "label" in jaxae.export(model, platforms=("cpu",))["decoder"].inputs


IMAGES = RNG.random((COUNT, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def ladder():
    """All of it is shown the label, its way down alone the age."""
    conditions = (
        Condition("label", 3, embedding=2, to=PARTS),
        Condition("age", to=("decoder", "prior")),
    )
    sizes = {"channels": (4, 4), "stem": 0, "num_samples": 2}
    recipe = recipes.ladder_vae((8, 8, 1), 1, conditions=conditions, **sizes)
    shown = {name: SHOWN[name] for name in ("label", "age")}
    return jaxae.fit(recipe, {"x": IMAGES, **shown}, **FIT).model


def test_a_ladder_with_conditions(ladder):
    """What is shown joins every code; the priors below the top depend on it."""
    model, label, age = ladder, SHOWN["label"], SHOWN["age"]
    codes = jaxae.encode(model, IMAGES, label=label, age=age)
    other = jaxae.encode(model, IMAGES, label=2 - label, age=age)
    assert (codes[1][0] != other[1][0]).any()
    labels = label, 2 - label
    made = [jaxae.decode(model, codes, label=each, age=age) for each in labels]
    assert (made[0][0] != made[1][0]).any()
    drawn = [
        jaxae.inference.sample_codes(model, KEY, COUNT, label=each, age=age)
        for each in labels
    ]
    np.testing.assert_array_equal(drawn[0][0], drawn[1][0])  # N(0, I) at the top
    assert (drawn[0][1][0] != drawn[1][1][0]).any()
    with pytest.raises(jaxae.ArgumentError, match="both decoder and prior"):
        recipes.ladder_vae((8, 8, 1), conditions=(Condition("label", 3),))


def test_a_ladder_whose_way_down_alone_is_shown_something(ladder):
    """Its posteriors walk down, too, so that the code depends on it."""
    model, age, label = ladder, SHOWN["age"], {"label": SHOWN["label"]}
    codes = jaxae.encode(model, IMAGES, age=age, **label)
    other = jaxae.encode(model, IMAGES, age=age + 3.0, **label)
    np.testing.assert_array_equal(codes[0], other[0])
    assert (codes[1] != other[1]).any()
    _, q = jaxae.posterior(model, IMAGES, key=KEY, age=age, **label)
    assert q.batch_shape == (1, COUNT)
    made = jaxae.reconstruct(model, IMAGES, age=age, **label)
    np.testing.assert_array_equal(made, jaxae.decode(model, codes, age=age, **label))
    down = Condition("age", to=("decoder", "prior"))
    alone = recipes.ladder_vae((8, 8, 1), channels=(4, 4), conditions=(down,))
    for each, shown in ((model, label), (Model(alone, {}), {})):
        with pytest.raises(jaxae.ArgumentError, match="age must be given"):
            jaxae.encode(each, IMAGES, **shown)


def test_a_unet_with_conditions():
    conditions = (
        Condition("label", 3),
        Condition("guide", shape=(8, 8, 2), to=("encoder",)),
    )
    recipe = recipes.unet(
        (8, 8, 1),
        channels=(4, 4),
        corruption=GaussianNoise(0.3),
        holes=True,
        conditions=conditions,
    )
    guide = np.concatenate([IMAGES, 1.0 - IMAGES], axis=-1)
    shown = {"label": SHOWN["label"], "guide": guide}
    missing = np.zeros(IMAGES.shape, bool)
    missing[::2, 2:4] = True
    data = {"x": IMAGES, "missing": missing, **shown}
    model = jaxae.fit(recipe, data, **FIT).model
    made = jaxae.repair(model, IMAGES, missing=missing, **shown)
    changed = {**shown, "guide": 0.0 * guide}
    assert (made != jaxae.repair(model, IMAGES, missing=missing, **changed)).any()
    changed = {**shown, "label": 2 - SHOWN["label"]}
    assert (made != jaxae.repair(model, IMAGES, missing=missing, **changed)).any()


def test_conditions_go_with_masks_and_with_missing_values():
    view = Chain((MaskChannel(), Condition("age")))
    assert view.needs == {"mask", "age"} and view.takes_missing
    missing = RNG.random(X.shape) < 0.3
    data = {"x": X, "missing": missing, "age": SHOWN["age"]}
    model = jaxae.fit(with_view(view), data, **FIT).model
    made = jaxae.impute(
        model, X, missing=missing, key=KEY, num_samples=10, age=SHOWN["age"]
    )
    np.testing.assert_array_equal(made[~missing], X[~missing])


class Side(View):
    """Of a user: the side of the body shifts the code."""

    @property
    def fields(self):
        return {"side": Field(categories=2)}

    def decoder(self, z, batch):
        return z + batch["side"][:, None].astype(z.dtype)


class Sly(View):
    """Looks at what it does not declare."""

    def decoder(self, z, batch):
        return z + batch["side"][:, None].astype(z.dtype)


def test_a_view_of_ones_own_has_fields_of_its_own():
    side = np.arange(COUNT) % 2
    model = jaxae.fit(with_view(Side()), {"x": X, "side": side}, **FIT).model
    codes = np.zeros((COUNT, 2), np.float32)
    made = jaxae.decode(model, codes, side=side)
    np.testing.assert_allclose(
        made[1], jaxae.decode(model, codes + 1.0, side=0 * side)[0], rtol=1e-5
    )
    assert "side" in jaxae.export(model, platforms=("cpu",))["decoder"].inputs
    with pytest.raises(jaxae.ArgumentError, match=r"Sly\.decoder looked at 'side'"):
        jaxae.fit(with_view(Sly()), X, **FIT)


BAD = {
    "not there": ({"x": X}, "data must have 'label', which the model is shown"),
    "not declared": (
        {"x": X, **SHOWN, "ages": SHOWN["age"]},
        "every field of data must be one of .*; did you mean 'age'",
    ),
    "no category": (
        {"x": X, **SHOWN, "label": SHOWN["label"] + 1},
        r"data\['label'\] must be from 0 to 2, got values from 1 to 3",
    ),
    "not a number": (
        {"x": X, **SHOWN, "age": np.full(COUNT, np.nan)},
        r"data\['age'\] holds a value that is not finite",
    ),
    "another shape": (
        {"x": X, **SHOWN, "scan": SHOWN["age"]},
        r"data\['scan'\] must be numbers of shape \[12, 2\]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_conditions(case):
    data, message = BAD[case]
    with pytest.raises(jaxae.ArgumentError, match=message):
        jaxae.fit(with_view(VIEW), data, **FIT)


def test_what_use_says_of_them(model):
    with pytest.raises(jaxae.ArgumentError, match="age must be given: one for each"):
        jaxae.encode(model, X, label=SHOWN["label"], scan=SHOWN["scan"])
    with pytest.raises(
        jaxae.ArgumentError,
        match=r"aeg must be left out: .*label, age.*; did you mean 'age'",
    ):
        jaxae.encode(model, X, **SHOWN, aeg=1)
    with pytest.raises(jaxae.ArgumentError, match="name must be none of"):
        Condition("weight")
    with pytest.raises((jaxae.ArgumentError, TypeCheckError), match="to"):
        Condition("age", to=("encodr",))


def test_what_a_decoder_is_not_shown_it_is_not_given():
    view = Chain((Condition("label", 3, to=("encoder",)), Condition("age")))
    model = jaxae.fit(
        with_view(view),
        {"x": X, "label": SHOWN["label"], "age": SHOWN["age"]},
        **FIT,
    ).model
    codes = jaxae.encode(model, X, label=SHOWN["label"], age=SHOWN["age"])
    made = jaxae.decode(model, codes, age=SHOWN["age"])
    whole = jaxae.reconstruct(model, X, label=SHOWN["label"], age=SHOWN["age"])
    np.testing.assert_array_equal(made, whole)
    assert jaxae.sample(model, KEY, COUNT, age=SHOWN["age"]).shape == X.shape
    with pytest.raises(jaxae.ArgumentError, match="label must be given"):
        jaxae.encode(model, X, age=SHOWN["age"])
    with pytest.raises(jaxae.ArgumentError, match="age must be given"):
        jaxae.decode(model, codes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Chain((Condition("age"), Condition("age"))), "twice: \\['age'\\]"),
        (lambda: Condition("count"), "name must be none of"),
        (lambda: Condition(""), "name must be the name of an array in the data"),
    ],
)
def test_names_are_taken_once(make, message):
    with pytest.raises(jaxae.ArgumentError, match=message):
        make()


def test_half_precision_is_numbers_too():
    half = {name: jnp.asarray(values, jnp.bfloat16) for name, values in SHOWN.items()}
    data = {"x": X, **half, "weight": jnp.ones(COUNT, jnp.bfloat16)}
    checked = check_data(with_view(VIEW), data, "data")
    assert checked["age"].dtype == checked["weight"].dtype == np.float32
    np.testing.assert_array_equal(checked["label"], SHOWN["label"])
    plain = check_data(recipes.vae((4,), 2), {"x": X, "label": half["age"]}, "data")
    assert "label" in plain


def test_a_mistake_of_a_views_own_is_not_one_of_its_fields():
    class Wrong(View):
        def encoder(self, batch):
            return {}["inputs"]

    with pytest.raises(KeyError, match="inputs"):
        jaxae.fit(with_view(Wrong()), X, **FIT)
