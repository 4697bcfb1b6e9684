"""Vector quantisation: search, gradients, codebooks and the recipe."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxae
from jaxae import make_train_step, networks
from jaxae.bottlenecks import codebook
from jaxae.bottlenecks.quantized import VectorQuantizer
from jaxae.hooks import ReviveCodes, reset_moments
from jaxae.objectives.base import each_its_own
from jaxae.recipes.discrete import vqvae
from jaxae.training import init_state
from jaxae.training.state import trained_model
from jaxae.types import Observed, TrainState

KEY = jax.random.key(0)
IDENTITY = {
    "project": {"kernel": np.eye(3, dtype=np.float32), "bias": np.zeros(3, np.float32)}
}


def noise(shape, seed=0):
    return np.float32(np.random.default_rng(seed).normal(size=shape))


def nearest(x, codes):
    return np.square(x[:, None] - codes[None]).sum(-1).argmin(1)


def ema(books, counts=None, **options):
    """A quantizer of vectors [b, 3] with these codebooks, and its variables."""
    q, m, d = books.shape
    module = VectorQuantizer(m, d, num_quantizers=q, **options)
    counts = np.ones((q, m), np.float32) if counts is None else counts
    statistics = {
        "embedding": books,
        "sums": books * counts[..., None],
        "counts": counts,
        "initialized": jnp.ones(()),
        "mass": jnp.asarray(1 / (1 - module.decay)),  # after very many batches
    }
    return module, {"params": IDENTITY, "statistics": statistics}


def train(module, variables, x, key=KEY):
    step = jax.jit(partial(module.apply, train=True, mutable=["statistics"]))
    latent, new = step(variables, x, key)
    return latent, jax.device_get(new["statistics"])


def test_nearest_code_is_that_of_a_brute_force_search():
    x, codes = noise((50, 4)), noise((9, 4), 1)
    found = jax.jit(codebook.nearest_code)(x, codes)
    np.testing.assert_array_equal(found, nearest(x, codes))


@pytest.mark.parametrize("offset", [1000.0, -3e4])
def test_the_nearest_code_does_not_depend_on_a_common_offset(offset):
    x = jnp.asarray(noise((2000, 16)) + np.float32(offset))
    codes = jnp.asarray(noise((64, 16), 1) + np.float32(offset))
    exact = nearest(np.float64(x), np.float64(codes))
    np.testing.assert_array_equal(jax.jit(codebook.nearest_code)(x, codes), exact)


def test_kmeans_and_quantizers_work_far_from_zero():
    thousand = np.float32(1000.0)
    x = noise((40, 3)) + thousand
    kmeans = jax.jit(codebook.kmeans, static_argnums=(2, 3))
    far, near = (np.asarray(kmeans(KEY, data, 6, 3)) for data in (x, x - thousand))
    # float32 has numbers near 1000 to 6e-5.
    np.testing.assert_allclose(far - thousand, near, atol=2e-4)
    module, variables = ema(far[None])
    latent = jax.jit(module.apply)(variables, x, KEY)
    np.testing.assert_array_equal(latent.indices, nearest(np.float64(x), far))


def test_perplexity_of_uniform_and_of_single_codes():
    perplexity = jax.jit(codebook.perplexity)
    np.testing.assert_allclose(perplexity(np.full(7, 3.0, np.float32)), 7, rtol=1e-6)
    np.testing.assert_allclose(perplexity(np.float32([0.0, 5.0])), 1)
    usage = jax.jit(codebook.usage_metrics, static_argnums=1)
    metrics = usage(np.int32([[0], [1], [0], [1]]), 4)
    np.testing.assert_allclose(metrics["perplexity"], np.full(4, 2.0), rtol=1e-6)
    np.testing.assert_allclose(metrics["usage"], np.full(4, 0.5))


def test_straight_through_is_the_code_with_the_features_gradient():
    f, e = noise((5, 3)), 100 * noise((5, 3), 1)
    g = noise((5, 3), 2)

    @jax.jit
    def value_and_gradients(f, e, g):
        value, pull = jax.vjp(codebook.straight_through, f, e)
        return value, *pull(g)

    value, to_f, to_e = value_and_gradients(f, e, g)
    np.testing.assert_array_equal(value, e)
    np.testing.assert_array_equal(to_f, g)
    np.testing.assert_array_equal(to_e, np.zeros((5, 3)))


def test_rotation_trick_is_a_rotation_onto_the_code():
    f, e = noise((3,)), 2 * noise((3,), 1)
    jacobians = jax.jacrev(codebook.rotation_trick, argnums=(0, 1))
    value, (scaled, to_code) = jax.device_get(
        jax.jit(lambda f, e: (codebook.rotation_trick(f, e), jacobians(f, e)))(f, e)
    )
    np.testing.assert_array_equal(value, e)
    rotation = scaled / (np.linalg.norm(e) / np.linalg.norm(f))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-5)
    np.testing.assert_allclose(scaled @ f, e, atol=1e-5)
    # The gradient has the same angle to the code as to the feature afterwards.
    g = noise((3,), 2)
    back = g @ rotation
    np.testing.assert_allclose(np.linalg.norm(back), np.linalg.norm(g), rtol=1e-5)
    angle = e @ g / np.linalg.norm(e)
    np.testing.assert_allclose(f @ back / np.linalg.norm(f), angle, rtol=1e-4)
    np.testing.assert_array_equal(to_code, np.zeros((3, 3)))


def test_kmeans_starts_from_distinct_rows_and_is_lloyds_algorithm():
    x = noise((20, 3))
    kmeans = jax.jit(codebook.kmeans, static_argnums=(2, 3))
    start = np.asarray(kmeans(KEY, x, 6, 0))
    rows = [int(np.flatnonzero((x == c).all(1))[0]) for c in start]
    assert len(set(rows)) == 6
    expected = start.copy()
    for _ in range(2):
        chosen = nearest(x, expected)
        expected = np.stack([x[chosen == j].mean(0) for j in range(6)])
    np.testing.assert_allclose(kmeans(KEY, x, 6, 2), expected, atol=1e-5)


def test_no_penalty_on_codewords():
    books = noise((1, 4, 3))
    module, variables = ema(books)
    latent = jax.jit(module.apply)(variables, books[0][[2, 0, 3]], KEY)
    np.testing.assert_array_equal(latent.penalty, np.zeros(3))
    np.testing.assert_array_equal(latent.indices, [2, 0, 3])


def test_penalty_is_the_squared_error_and_its_gradients_go_apart():
    books, x = noise((1, 4, 3)), noise((8, 3), 1)
    module = VectorQuantizer(4, 3, "gradient", commitment_weight=0.5)
    params = {**IDENTITY, "codebook": books}
    one = jnp.ones(())
    statistics = {"counts": jnp.ones((1, 4)), "initialized": one, "mass": one}

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1))
    def total(params, x):
        variables = {"params": params, "statistics": statistics}
        return module.apply(variables, x, KEY).penalty.sum()

    value, (to_params, to_x) = total(params, x)
    error = x - books[0][nearest(x, books[0])]
    np.testing.assert_allclose(value, 1.5 * np.square(error).sum(), rtol=1e-5)
    np.testing.assert_allclose(to_x, 2 * 0.5 * error, rtol=1e-4, atol=1e-6)
    expected = np.zeros((4, 3))
    np.add.at(expected, nearest(x, books[0]), -2 * error)
    np.testing.assert_allclose(to_params["codebook"], expected[None], atol=1e-5)


@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
def test_residual_codes_are_the_sum_of_the_stages(estimator):
    books, x = noise((3, 5, 3)), noise((8, 3), 1)
    module, variables = ema(books, gradient_estimator=estimator)
    latent = jax.jit(module.apply)(variables, x, KEY)
    rest, chosen = x, []
    for book in books:
        chosen.append(nearest(rest, book))
        rest = rest - book[chosen[-1]]
    np.testing.assert_array_equal(latent.indices, np.stack(chosen, -1))
    np.testing.assert_allclose(latent.mean, x - rest, atol=1e-5)
    embedded = jax.jit(partial(module.apply, method="embed"))(variables, latent.indices)
    np.testing.assert_allclose(embedded, latent.mean, atol=1e-6)
    assert latent.info["features"].shape == (8, 3, 3)


def test_decay_zero_is_one_step_of_lloyds_algorithm():
    books, x = noise((1, 4, 3)), noise((16, 3), 1)
    books[0, 3] = 50.0  # chosen by none: stays
    module, variables = ema(books, decay=0.0, dead_below=0.0)
    _, new = train(module, variables, x)
    chosen = nearest(x, books[0])
    for j in range(3):
        mean = x[chosen == j].mean(0)
        np.testing.assert_allclose(new["embedding"][0, j], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(new["embedding"][0, 3], books[0, 3])


def test_running_averages_decay():
    books, x = noise((1, 2, 3)), noise((16, 3), 1)
    module, variables = ema(books, decay=0.9, dead_below=0.0)
    _, new = train(module, variables, x)
    chosen = nearest(x, books[0])
    for j in range(2):
        count = 0.9 + 0.1 * (chosen == j).sum()
        total = 0.9 * books[0, j] + 0.1 * x[chosen == j].sum(0)
        np.testing.assert_allclose(new["counts"][0, j], count, rtol=1e-5)
        np.testing.assert_allclose(
            new["embedding"][0, j], total / count, rtol=1e-3, atol=1e-5
        )


def test_statistics_change_in_training_alone():
    module, variables = ema(noise((1, 4, 3)))
    use = jax.jit(partial(module.apply, train=False, mutable=["statistics"]))
    _, new = use(variables, noise((8, 3), 1), KEY)
    for name, value in new["statistics"].items():
        np.testing.assert_array_equal(value, variables["statistics"][name])


def test_first_batch_starts_the_codebook():
    x = noise((8, 3))
    module = VectorQuantizer(4, 3, kmeans_steps=0, dead_below=0.0)
    variables = jax.jit(partial(module.init, train=True))(KEY, x[:2], KEY)
    assert float(variables["statistics"]["initialized"]) == 0
    variables = {**variables, "params": IDENTITY}
    latent, new = train(module, variables, x)
    assert float(new["initialized"]) == 1
    codes = np.unique(latent.mean, axis=0)
    assert all((np.asarray(x) == code).all(1).any() for code in codes)
    assert len(codes) == 4
    # The running means know of this batch alone: one step of Lloyd's algorithm.
    chosen = nearest(x, codes)
    centres = np.stack([np.asarray(x)[chosen == j].mean(0) for j in range(4)])
    found = np.unique(new["embedding"][0], axis=0)
    np.testing.assert_allclose(found, np.unique(centres, axis=0), rtol=1e-4)


COUNTS = np.asarray([2, 0, 1, 3, 0, 1, 1, 2])


@pytest.mark.parametrize("quantizers", [1, 2])
def test_statistics_and_metrics_are_by_weight(quantizers):
    books, x = noise((quantizers, 4, 3)), noise((8, 2, 3), 1)
    module, variables = ema(books, decay=0.5)
    run = jax.jit(
        lambda x, weight: module.apply(
            variables, x, KEY, train=True, weight=weight, mutable=["statistics"]
        )
    )
    weight, rows = jnp.asarray(COUNTS, jnp.float32), np.repeat(np.arange(8), COUNTS)
    latent, new = run(x, weight)
    repeated, expected = run(x[rows], None)
    close = partial(np.testing.assert_allclose, rtol=1e-5)
    jax.tree.map(close, new, expected)
    for name in ("perplexity", "usage"):
        close(latent.metrics[name][0], repeated.metrics[name][0])
    far = np.array(x)
    far[1] = 50.0
    other, same = run(far, weight)
    jax.tree.map(np.testing.assert_array_equal, same, new)
    np.testing.assert_array_equal(other.metrics["usage"], latent.metrics["usage"])
    nothing = run(x, np.zeros(8, np.float32))[1]["statistics"]
    jax.tree.map(np.testing.assert_array_equal, nothing, variables["statistics"])


def test_kmeans_starts_and_goes_by_weight():
    x, weight = noise((8, 3)), COUNTS.astype(np.float32)
    rows = x[COUNTS > 0]
    draw = jax.jit(codebook.draw_rows, static_argnums=2)
    drawn = np.asarray(draw(KEY, x, 8, weight))
    # All that count, and then again.
    np.testing.assert_array_equal(np.unique(drawn, axis=0), np.unique(rows, axis=0))
    np.testing.assert_array_equal(drawn[6:], drawn[:2])
    kmeans = jax.jit(codebook.kmeans, static_argnums=(2, 3))
    centres = np.asarray(kmeans(KEY, x, 3, 20, weight))
    chosen = nearest(rows, centres)
    means = [
        np.average(rows[chosen == j], axis=0, weights=COUNTS[COUNTS > 0][chosen == j])
        for j in range(3)
    ]
    np.testing.assert_allclose(centres, means, rtol=1e-4, atol=1e-6)


def test_features_are_drawn_by_weight():
    x = jnp.asarray(np.arange(3, dtype=np.float32)[:, None])
    weight, keys = jnp.asarray(np.float32([1, 0, 3])), jax.random.split(KEY, 4000)
    draw = jax.vmap(lambda key: codebook.draw_rows(key, x, 1, weight))
    share = (np.asarray(jax.jit(draw)(keys)).ravel() == 2).mean()
    # The standard error is 0.007.
    assert abs(share - 0.75) < 0.03


def test_dead_codes_are_replaced_by_features():
    books = noise((1, 4, 3))
    books[0, 2] = 90.0
    counts = np.float32([[5.0, 5.0, 1e-2, 5.0]])
    x = noise((16, 3), 1)
    module, variables = ema(books, counts)
    _, new = train(module, variables, x)
    row = new["embedding"][0, 2]
    assert (x == row).all(1).any()
    living = np.delete(new["counts"][0], 2)
    assert living.min() > 1 < float(new["counts"][0, 2])
    np.testing.assert_allclose(
        new["sums"][0, 2], row * float(new["counts"][0, 2]), rtol=1e-5
    )
    keeping, _ = ema(books, counts, dead_below=0.0)
    _, kept = train(keeping, variables, x)
    np.testing.assert_allclose(kept["embedding"][0, 2], books[0, 2], rtol=1e-2)
    for j in (0, 1, 3):
        np.testing.assert_array_equal(kept["embedding"][0, j], new["embedding"][0, j])


def updated(tx, params):
    """The optimizer's state after a gradient of ones."""

    @jax.jit
    def update(params):
        ones = jax.tree.map(jnp.ones_like, params)
        return tx.update(ones, tx.init(params), params)[1]

    with jax.numpy_dtype_promotion("standard"):
        return update(params)


def test_reset_moments_zeroes_the_rows_of_one_parameter():
    ones = partial(np.ones, dtype=np.float32)
    params = {"model": {"a": {"codebook": ones((4, 2))}, "codebook": ones(4)}}
    tx = optax.chain(optax.clip(1.0), optax.adam(0.1))
    state = updated(tx, params)
    keep = np.float32([1.0, 0.0, 1.0, 0.0])[:, None]
    reset = jax.jit(reset_moments, static_argnums=1)
    new = reset(state, ("model", "a", "codebook"), keep)
    before, after = jax.device_get((state[1][0], new[1][0]))
    for old_tree, tree in ((before.mu, after.mu), (before.nu, after.nu)):
        old = old_tree["model"]["a"]["codebook"]
        np.testing.assert_array_equal(tree["model"]["a"]["codebook"], old * keep)
        assert np.abs(old).min() > 0
        np.testing.assert_array_equal(
            tree["model"]["codebook"], old_tree["model"]["codebook"]
        )
    assert int(after.count) == int(before.count) == 1


def test_reset_moments_finds_those_of_an_optimizer_of_its_own():
    three = np.ones(3, np.float32)
    params = {"model": {"a": {"b": three}}, "objective": {"a": {"b": three}}}
    tx = each_its_own({"model": optax.adam(0.1), "objective": optax.adam(0.2)})
    state = updated(tx, params)
    keep = np.float32([1.0, 0.0, 1.0])
    reset = jax.jit(reset_moments, static_argnums=1)
    new = reset(state, ("model", "a", "b"), keep)
    moments = new["model"][0].mu["a"]["b"]
    np.testing.assert_array_equal(np.asarray(moments) != 0, [True, False, True])
    jax.tree.map(np.testing.assert_array_equal, new["objective"], state["objective"])


@pytest.mark.parametrize("started", [0.0, 1.0])
def test_hook_starts_and_revives_a_codebook_with_gradients(started):
    quantizer = VectorQuantizer(4, 3, "gradient", kmeans_steps=0)
    books, x = 10 + noise((1, 4, 3)), noise((16, 1, 3), 1)
    params = {"model": {"bottleneck": {"codebook": books}}, "objective": {}}
    tx = optax.adam(0.1)
    opt_state = updated(tx, params)
    statistics = {
        "counts": np.float32([[4.0, 0.0, 4.0, 4.0]]),
        "initialized": np.float32(started),
    }
    zero = np.int32(0)
    state = TrainState(
        zero, KEY, params, {"statistics": {"bottleneck": statistics}}, opt_state, zero
    )
    seen = Observed({}, jnp.zeros(16), {"features": x})
    new = jax.jit(ReviveCodes(quantizer))(state, seen, KEY)
    replaced = [1] if started else [0, 1, 2, 3]
    after = np.asarray(new.params["model"]["bottleneck"]["codebook"][0])
    moments = new.opt_state[0].mu["model"]["bottleneck"]["codebook"][0]
    for j in range(4):
        drawn = (x[:, 0] == after[j]).all(1).any()
        assert drawn == (j in replaced)
        assert (moments[j] == 0).all() == (j in replaced)
    own = new.collections["statistics"]["bottleneck"]
    assert float(own["counts"].min()) >= 1 and float(own["initialized"]) == 1


def small(**options):
    options = {"network": networks.Convolutional((3,)), **options}
    recipe = vqvae((4, 4, 1), 6, 2, **options)
    tx = optax.adam(0.01)
    return recipe, tx, jax.jit(make_train_step(recipe, tx))


def images(count=16):
    values = np.random.default_rng(0).uniform(size=(count, 4, 4, 1))
    return jnp.asarray(np.float32(values))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"codebook": "gradient", "gradient_estimator": "rotation"},
        {"num_quantizers": 2, "network": "mlp"},
    ],
    ids=["ema", "gradient", "residual"],
)
@pytest.mark.slow
def test_recipe_trains_and_its_codes_are_whole_numbers(options):
    recipe, tx, step = small(**options)
    batch = {"x": images()}
    state = jax.jit(partial(init_state, recipe, tx))({"x": batch["x"][:2]}, KEY)
    distortions = []
    for _ in range(40):
        state, metrics = step(state, batch)
        distortions.append(float(metrics["distortion_nats"]))
    assert distortions[-1] < distortions[0]
    assert float(state.collections["statistics"]["bottleneck"]["initialized"]) == 1
    assert float(metrics["perplexity"]) > 1
    model = trained_model(recipe, state)
    codes = jaxae.encode(model, batch["x"])
    expected = (16, 2) if options.get("num_quantizers") else (16, 2, 2)
    assert codes.shape == expected and codes.dtype == jnp.int32
    np.testing.assert_array_equal(
        jaxae.decode(model, codes), jaxae.reconstruct(model, batch["x"])
    )


@pytest.mark.parametrize("learning", ["ema", "gradient"])
@pytest.mark.slow
def test_codebooks_do_not_depend_on_the_device_count(learning):
    recipe, tx, step = small(codebook=learning)
    batch = {"x": images()}
    state = jax.jit(partial(init_state, recipe, tx))({"x": batch["x"][:2]}, KEY)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("data"))
    alone = jax.device_put((state, batch), jax.devices()[0])
    spread = jax.device_put(state, everywhere), jax.device_put(batch, split)
    results = []
    for state, batch in (alone, spread):
        for _ in range(3):
            state, _ = step(state, batch)
        results.append({"params": state.params, **state.collections})
    one, many = results
    assert all(len(leaf.devices()) == 8 for leaf in jax.tree.leaves(many))

    def check(path, a, b):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5, err_msg=name)

    jax.tree_util.tree_map_with_path(check, one, many)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"codebook_size": 0}, "codebook_size"),
        ({"code_dim": 0}, "code_dim"),
        ({"num_quantizers": 0}, "num_quantizers"),
        ({"kmeans_steps": -1}, "kmeans_steps"),
        ({"commitment_weight": -1.0}, "commitment_weight"),
        ({"decay": 1.0}, "decay"),
        ({"dead_below": 1.0}, "dead_below"),
    ],
)
def test_bad_arguments_are_named(options, name):
    with pytest.raises(ValueError, match=name):
        VectorQuantizer(**options)


def test_the_hook_is_for_codebooks_learned_by_gradient():
    with pytest.raises(ValueError, match="codebook"):
        ReviveCodes(VectorQuantizer())
