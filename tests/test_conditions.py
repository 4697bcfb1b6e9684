"""What networks are shown beside x: declared by a view, brought by the data by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

import jaxae
from jaxae import networks, recipes
from jaxae.evaluation import evaluate
from jaxae.inputs import check_data
from jaxae.views import Chain, Condition, Field, MaskChannel, View

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


def test_a_prior_of_posteriors_goes_with_a_condition_of_the_decoder():
    recipe = recipes.vamp_vae((4,), 2, components=3, network=NETWORK)

    def fit(to):
        view = Condition("label", 3, to=to)
        own = recipe.replace(module=recipe.module.clone(view=view))
        return jaxae.fit(own, {"x": X, "label": SHOWN["label"]}, **FIT).model

    model = fit(("decoder",))
    assert jaxae.sample(model, KEY, 2, label=np.array([0, 1])).shape == (2, 4)
    with pytest.raises(jaxae.ArgumentError, match="encoder looked at 'label'"):
        fit(("encoder",))


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
        jaxae.ArgumentError, match=r"aeg must be left out: .*label, age"
    ):
        jaxae.encode(model, X, **SHOWN, aeg=1)
    with pytest.raises(jaxae.ArgumentError, match="name must be none of"):
        Condition("weight")
    with pytest.raises((jaxae.ArgumentError, TypeCheckError), match="to"):
        Condition("age", to=("prior",))


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
