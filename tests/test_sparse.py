"""Sparse auto-encoders against NumPy, autodiff and exact identities."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxae
from jaxae.bottlenecks import sparse
from jaxae.bottlenecks.sparse import Sparse
from jaxae.distributions.elementwise import Normal
from jaxae.evaluation.sparsity import atoms, sparsity
from jaxae.hooks import ResampleDead, TieAtStart
from jaxae.models.family import call
from jaxae.networks.dictionary import Dictionary
from jaxae.objectives.sparse import SparseReconstruction, aux_loss
from jaxae.recipe import Model
from jaxae.recipes.sparse import sparse_autoencoder
from jaxae.training.loss import batch_loss
from jaxae.training.state import init_state, trained_model
from jaxae.training.step import make_train_step
from jaxae.types import Context, Latent, Observed, Trace

KEY = jax.random.key(0)
ACTIVATIONS = ("l1", "topk", "batch_topk", "jump_relu", "gated")
D, N, B = 6, 10, 8
TX = optax.adam(1e-2)


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(a, b, atol=1e-5):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)


def tiny(activation="topk", **options):
    options = {"k": 3, "bandwidth": 0.5, "sparsity_weight": 0.1} | options
    return sparse_autoencoder((D,), N, activation=activation, **options)


@partial(jax.jit, static_argnums=0)
def init(recipe, batch):
    return init_state(recipe, TX, batch, KEY)


def start(recipe, batch=None):
    return init(recipe, batch or {"x": normal((2, D))})


@cache
def train_step(recipe):
    return jax.jit(make_train_step(recipe, TX))


def in_numpy(state):
    """All of it but the key."""
    return jax.device_get(state._replace(key=None))._replace(key=state.key)


def numpy_top_k(pre, k):
    kept = np.zeros_like(pre)
    for row, out in zip(pre, kept, strict=True):
        best = np.argsort(row)[::-1][:k]
        out[best] = np.maximum(row[best], 0)
    return kept


top_k = jax.jit(sparse.top_k, static_argnums=1)


@pytest.mark.parametrize("k", [1, 3, N])
def test_top_k_keeps_the_k_largest_of_every_example(k):
    pre = normal((B, N))
    z = np.asarray(top_k(pre, k))
    close(z, numpy_top_k(pre, k), 0)
    assert ((z != 0).sum(axis=1) <= k).all()


def test_top_k_of_all_is_the_identity_on_positive_numbers():
    pre = np.abs(normal((B, N)))
    close(top_k(pre, N), pre, 0)
    ties = np.asarray(top_k(np.ones((2, N), np.float32), 4))
    assert ((ties != 0).sum(axis=1) == 4).all()


def test_top_k_passes_gradients_to_what_it_keeps_alone():
    pre = jnp.asarray(normal((B, N)))

    @partial(jax.grad, has_aux=True)
    def of_kept(pre):
        kept = sparse.top_k(pre, 3)
        return kept.sum(), kept

    grad, kept = jax.jit(of_kept)(pre)
    close(grad, (np.asarray(kept) > 0).astype(np.float32), 0)


def test_batch_top_k_keeps_k_times_b_of_the_batch():
    pre = np.abs(normal((B, N))) + 0.01
    z = np.asarray(jax.jit(partial(sparse.batch_top_k, k=3))(pre))
    assert (z != 0).sum() == 3 * B
    assert len({*(z != 0).sum(axis=1)}) > 1
    smallest = np.sort(pre.ravel())[-3 * B]
    close(z, np.where(pre >= smallest, pre, 0), 0)


@pytest.mark.parametrize("function", [sparse.jump_relu, sparse.step])
def test_straight_through_gradients_are_those_of_the_rectangle(function):
    pre, width = normal((B, N)), 0.8
    threshold = np.exp(0.3 * normal((N,), 1))
    weights = normal((B, N), 2)

    def loss(pre, log_threshold):
        each = jnp.broadcast_to(jnp.exp(log_threshold)[None], pre.shape)
        return (jnp.asarray(weights) * function(pre, each, width)).sum()

    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    value, (of_pre, of_log) = both(pre, np.log(threshold))
    above = pre > threshold
    window = (np.abs((pre - threshold) / width) < 0.5) / width
    assert window.any() and not window.all()
    jump = function is sparse.jump_relu
    close(of_pre, weights * above if jump else np.zeros_like(pre))
    height = threshold if jump else 1.0
    close(of_log, -(weights * height * window).sum(axis=0) * threshold)
    close(value, (weights * np.where(above, pre if jump else 1.0, 0.0)).sum(), 1e-4)


def bottleneck(activation, **options):
    module = Sparse(N, activation, **({"k": 3, "bandwidth": 0.5} | options))
    h = jnp.asarray(normal((B, D)))
    variables = jax.device_get(jax.jit(module.init)(KEY, h, KEY))
    shaken = jax.tree.map(
        lambda p: p + np.float32(0.2) * normal(p.shape, 3), variables["params"]
    )
    return module, {**variables, "params": shaken}, h


@partial(jax.jit, static_argnames=("module", "train", "mutable"))
def apply(module, variables, h, weight=None, train=True, mutable=("statistics",)):
    return module.apply(
        variables, h, KEY, train=train, weight=weight, mutable=list(mutable)
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bottleneck_is_its_formula(activation):
    module, variables, h = bottleneck(activation)
    p = {name: np.asarray(value) for name, value in variables["params"].items()}
    latent, new = jax.device_get(apply(module, variables, h))
    linear = np.asarray(h) @ p["kernel"]
    pre = linear + p["bias"]
    if activation == "l1":
        z = np.maximum(pre, 0)
        cost = np.abs(z).sum(axis=1)
    elif activation == "topk":
        z, cost = numpy_top_k(pre, 3), None
    elif activation == "batch_topk":
        z, cost = numpy_top_k(pre.reshape(1, -1), 3 * B).reshape(pre.shape), None
        close(new["statistics"]["threshold"], z[z > 0].min())
    elif activation == "jump_relu":
        above = pre > np.exp(p["log_threshold"])
        z, cost = pre * above, above.sum(axis=1)
    else:
        z, cost = np.zeros_like(pre), np.zeros(B)
        for i, j in itertools.product(range(B), range(N)):
            size = np.exp(p["log_scale"][j]) * linear[i, j] + p["magnitude_bias"][j]
            z[i, j] = max(size, 0.0) if pre[i, j] > 0 else 0.0
            cost[i] += max(pre[i, j], 0.0)
        close(latent.info["gate"], np.maximum(pre, 0))
    close(latent.z[0], z)
    close(latent.mean, z)
    close(latent.info["pre_activations"], pre)
    close(latent.metrics["l0"], (z > 0).sum(axis=1))
    if cost is None:
        assert latent.penalty is None
    else:
        close(latent.penalty, cost)


def test_batch_top_k_takes_a_running_threshold_outside_training():
    module, variables, h = bottleneck("batch_topk")
    h = np.asarray(h)
    seen = []
    for scale in (1, 2):
        latent, new = jax.device_get(apply(module, variables, np.float32(scale) * h))
        variables = {**variables, **new}
        seen.append(float(latent.z[latent.z > 0].min()))
    threshold = float(new["statistics"]["threshold"])
    close(threshold, (0.9 * seen[0] + seen[1]) / 1.9)
    latent, same = jax.device_get(apply(module, variables, h, train=False))
    pre = latent.info["pre_activations"]
    close(latent.z[0], np.where(pre > threshold, pre, 0), 0)
    close(same["statistics"]["threshold"], threshold, 0)
    alone, _ = apply(module, variables, h[:1], train=False, mutable=())
    close(np.asarray(alone.z)[0, 0], latent.z[0, 0])


@pytest.mark.filterwarnings("ignore:data is large")
def test_the_threshold_keeps_k_latents_outside_training():
    """Though the first batches are of other weights, off the origin by 300."""
    x = normal((600, 32))
    x[:, 0] += 300.0
    recipe = sparse_autoencoder((32,), 64, activation="batch_topk", k=4)
    tx = optax.adam(1e-3)
    step, batches = make_train_step(recipe, tx), jnp.asarray(x.reshape(6, 100, 32))

    @jax.jit
    def train():
        state = init_state(recipe, tx, {"x": batches[0]}, KEY)

        def body(state, i):
            return step(state, {"x": batches[i % 6]})

        return jax.lax.scan(body, state, jnp.arange(120))

    state, metrics = train()
    metrics = jax.device_get(metrics)
    close(metrics["l0"], np.full(120, 4.0))
    scores = sparsity(trained_model(recipe, state), x, KEY)
    assert abs(scores["l0"] - 4.0) < 0.4
    explained = metrics["explained_variance"][-6:].mean()
    assert abs(scores["explained_variance"] - explained) < 0.05


COUNTS = np.asarray([2, 0, 1, 3, 0, 1, 1, 2])


@pytest.mark.parametrize("k", [1, 3, N])
def test_the_budget_of_batch_top_k_is_by_weight(k):
    pre, weight = normal((B, N)), COUNTS.astype(np.float32)
    rows = np.repeat(np.arange(B), COUNTS)
    top = jax.jit(partial(sparse.batch_top_k, k=k))
    z = np.asarray(top(pre, weight=weight))
    repeated = np.asarray(top(pre[rows]))
    # Of the copies of the last value there may be room for some alone.
    apart = repeated != z[rows]
    smallest = repeated[repeated > 0].min()
    assert apart.sum() < COUNTS.max() and (repeated[apart] == 0).all()
    assert (z[rows][apart] == smallest).all()
    other = pre.copy()
    other[1] = 50
    close(np.asarray(top(other, weight=weight))[rows], z[rows], 0)
    close(top(pre, weight=np.ones(B, np.float32)), top(pre), 0)
    assert not np.asarray(top(pre, weight=np.zeros(B, np.float32))).any()


def test_statistics_of_sparse_codes_are_by_weight():
    module, variables, h = bottleneck("batch_topk")

    def run(h, weight):
        return jax.device_get(apply(module, variables, h, weight)[1]["statistics"])

    h, weight = np.array(h), COUNTS.astype(np.float32)
    rows = np.repeat(np.arange(B), COUNTS)
    new = run(h, weight)
    inactive = new["examples_since_active"]
    assert set(np.unique(inactive)) == {0.0, 10.0}
    jax.tree.map(close, new, run(h[rows], None))
    h[1] = 50
    jax.tree.map(lambda a, b: close(a, b, 0), new, run(h, weight))
    nothing = run(h, np.zeros(B, np.float32))
    jax.tree.map(lambda a, b: close(a, b, 0), nothing, variables["statistics"])


def l0_by_weight(recipe_of, x, steps, learning_rate):
    """The number of active latents after training, for each of the weights."""

    def run(weight):
        recipe = recipe_of(lambda step: weight)
        tx = optax.adam(learning_rate)
        step = make_train_step(recipe, tx)
        state = init_state(recipe, tx, {"x": x[0]}, KEY)

        def body(state, i):
            return step(state, {"x": x[i % len(x)]})

        _, metrics = jax.lax.scan(body, state, jnp.arange(steps))
        return metrics["l0"][-len(x) :].mean()

    return jax.jit(jax.vmap(run))


def test_the_weight_of_jump_relu_acts():
    x = jnp.asarray(normal((600, 32))).reshape(6, 100, 32)

    def recipe_of(weight):
        return sparse_autoencoder(
            (32,),
            64,
            activation="jump_relu",
            sparsity_weight=weight,
            bandwidth=Sparse.bandwidth,
        )

    weights = np.asarray([0.01, 1.0, 100.0], np.float32)
    l0 = np.asarray(l0_by_weight(recipe_of, x, 300, 1e-2)(weights))
    assert l0[0] > 2 * l0[1] and l0[1] > 2 * l0[2]


def test_latents_are_dead_after_so_many_examples_without_activity():
    module, variables, h = bottleneck("topk", dead_after=2 * B)
    variables["params"]["bias"][[1, 4]] = -100
    counts = variables["statistics"]["examples_since_active"]
    assert (counts == 0).all()
    fractions = []
    expected = np.zeros(N)
    for i in range(3):
        seen = apply(module, variables, np.roll(h, i, 1))
        latent, new = jax.device_get(seen)
        variables = {**variables, **new}
        active = (np.asarray(latent.z[0]) > 0).any(axis=0)
        expected = np.where(active, 0, expected + B)
        close(new["statistics"]["examples_since_active"], expected, 0)
        assert (np.asarray(latent.info["dead"]) == (expected >= 2 * B)).all()
        fractions.append(float(latent.metrics["dead_fraction"][0]))
    assert fractions[0] == 0 and fractions[2] >= 0.2
    outside, _ = apply(module, variables, h, train=False, mutable=())
    close(outside.metrics["dead_fraction"], np.full(B, fractions[2]))


def test_dictionary_has_atoms_of_norm_one_and_tangential_gradients():
    module = Dictionary((2, 3))
    z = jnp.asarray(normal((B, N)))
    params = jax.device_get(jax.jit(module.init)(KEY, z)["params"])
    close(np.linalg.norm(params["atoms"], axis=1), np.ones(N))
    scales = np.arange(1, N + 1, dtype=np.float32)[:, None]
    scaled = {**params, "atoms": params["atoms"] * scales}
    rows, applied = np.eye(N, dtype=np.float32), jax.jit(module.apply)
    out = np.asarray(applied({"params": scaled}, rows))
    assert out.shape == (N, 2, 3)
    close(np.linalg.norm(out.reshape(N, -1), axis=1), np.ones(N))
    close(out, applied({"params": params}, rows))

    def loss(params):
        return (module.apply({"params": params}, z) ** 3).sum()

    grad = np.asarray(jax.jit(jax.grad(loss))(scaled)["atoms"])
    length = np.linalg.norm(grad, axis=1) * np.linalg.norm(scaled["atoms"], axis=1)
    assert (length > 0.1).all()
    inner = (grad * scaled["atoms"]).sum(axis=1)
    close(inner / length, np.zeros(N))


@partial(jax.jit, static_argnames=("recipe", "train"))
def parts(recipe, params, state, x, train=True):
    batch = {"x": x}
    both = {**state.params, "model": params}
    return batch_loss(recipe, both, state.collections, batch, KEY, state.step, train)


def with_dead(state, dead):
    counts = np.where(dead, 1e9, 0.0).astype(np.float32)
    own = {**state.collections["statistics"]["bottleneck"]}
    own["examples_since_active"] = counts
    return state._replace(collections={"statistics": {"bottleneck": own}})


def plain_parts(state, x):
    p = jax.tree.map(np.asarray, state.params["model"])
    atoms = p["decoder"]["atoms"]
    atoms = atoms / np.linalg.norm(atoms, axis=1, keepdims=True)
    pre = x @ p["bottleneck"]["kernel"] + p["bottleneck"]["bias"]
    return pre, atoms, p["decoder"]["bias"]


CONSTANT = 0.5 * D * np.log(2 * np.pi)


def test_objective_is_half_the_squared_error_plus_penalty_and_explains_variance():
    recipe, x = tiny("l1"), normal((B, D), 5)
    state = start(recipe)
    loss, (metrics, _, _) = parts(recipe, state.params["model"], state, x)
    pre, atoms, bias = plain_parts(state, x)
    z = np.maximum(pre, 0)
    error = x - (z @ atoms + bias)
    half = 0.5 * (error**2).sum(axis=1) + CONSTANT
    close(metrics["distortion_nats"], half.mean())
    close(loss, half.mean() + 0.1 * z.sum(axis=1).mean())
    explained = 1 - (error**2).sum() / ((x - x.mean(axis=0)) ** 2).sum()
    close(metrics["explained_variance"], explained)
    close(metrics["l0"], (z > 0).sum(axis=1).mean())
    assert "aux_loss" not in metrics


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_of_equal_examples_has_no_variance_to_explain(count):
    recipe, x = tiny("l1", aux_weight=0.5), np.tile(normal((1, D), 5), (count, 1))
    state = with_dead(start(recipe), np.arange(N) >= 5)
    loss, (metrics, _, _) = parts(recipe, state.params["model"], state, x, train=False)
    assert metrics["explained_variance"] == 0 and metrics["aux_loss"] == 0
    assert np.isfinite(loss)


def test_a_perfect_code_leaves_aux_k_nothing_to_explain():
    x, pre, atoms = (jnp.asarray(normal(shape)) for shape in ((B, D), (B, N), (N, D)))

    def decode(params, codes):
        return Normal(codes[0] @ atoms, jnp.ones(())).to_event(1)

    @jax.jit
    def loss(output):
        info = {"dead": jnp.ones(N, bool), "pre_activations": pre}
        latent = Latent(pre[None], pre, info=info)
        likelihood = Normal(output[None], jnp.ones(())).to_event(1)
        trace = Trace(x, x, None, likelihood, (latent,))
        context = Context(KEY, jnp.asarray(0), {}, {}, None, decode)
        return aux_loss(trace, latent, context, 2)

    np.testing.assert_array_equal(loss(x), np.zeros(B))
    assert (np.asarray(loss(np.float32(0.9) * np.asarray(x))) > 0).all()


def test_aux_k_explains_the_residual_by_dead_latents():
    recipe, x = tiny(aux_weight=0.5, k_aux=2), normal((B, D), 5)
    dead = np.arange(N) >= 5
    state = start(recipe)
    model = state.params["model"]
    # Never active, but their pre-activations differ.
    model = {**model, "decoder": {**model["decoder"], "bias": jnp.ones(D)}}
    state = with_dead(state._replace(params={**state.params, "model": model}), dead)
    loss, (metrics, _, _) = parts(recipe, model, state, x, train=False)
    pre, atoms, bias = plain_parts(state, x)
    missing = x - (numpy_top_k(pre, 3) @ atoms + bias)
    # The two largest of the dead ones, whatever their sign.
    kept = np.argsort(np.where(dead, pre, -np.inf), axis=1)[:, -2:]
    z = np.zeros_like(pre)
    np.put_along_axis(z, kept, np.take_along_axis(pre, kept, axis=1), axis=1)
    assert (z < 0).any() and (z > 0).any()
    aux = z @ atoms
    # Relative to what is missing, in units of the variance.
    scale = ((x - x.mean(axis=0)) ** 2).sum() / (missing**2).sum()
    expected = scale * 0.5 * ((missing - aux) ** 2).sum(axis=1).mean()
    close(metrics["aux_loss"], expected)
    close(loss, metrics["distortion_nats"] + 0.5 * expected)


@pytest.mark.slow
def test_aux_k_has_no_gradient_where_nothing_is_dead():
    x = normal((B, D), 5)

    def gradient(recipe, dead):
        state = with_dead(start(recipe), dead)
        return jax.grad(lambda p: parts(recipe, p, state, x, train=False)[0])(
            state.params["model"]
        )

    some, none = np.arange(N) >= 5, np.zeros(N, bool)
    with_aux, without = (tiny(aux_weight=w) for w in (1.0, 0.0))
    plain = gradient(without, none)
    jax.tree.map(lambda a, b: close(a, b, 0), gradient(with_aux, none), plain)
    revived = gradient(with_aux, some)["bottleneck"]["kernel"]
    assert float(jnp.abs(revived - plain["bottleneck"]["kernel"])[:, 5:].max()) > 1e-3


def test_gated_auxiliary_term_teaches_the_gate_and_not_the_decoder():
    recipe, x = tiny("gated", sparsity_weight=0.0), normal((B, D), 5)
    state = start(recipe)
    loss, (metrics, _, _) = parts(recipe, state.params["model"], state, x)
    pre, atoms, bias = plain_parts(state, x)
    error = x - (np.maximum(pre, 0) @ atoms + bias)
    close(metrics["gate_loss"], 0.5 * (error**2).sum(axis=1).mean())
    close(loss, metrics["distortion_nats"] + metrics["gate_loss"])

    @jax.jit
    @jax.jacrev
    def gradients(params):
        metrics = parts(recipe, params, state, x)[1][0]
        return [metrics[name] for name in ("gate_loss", "distortion_nats")]

    gate, main = jax.device_get(gradients(state.params["model"]))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gate["decoder"]))
    close(gate["bottleneck"]["bias"], -(error @ atoms.T * (pre > 0)).mean(axis=0))
    assert (main["bottleneck"]["bias"] == 0).all()
    assert np.abs(main["bottleneck"]["log_scale"]).max() > 1e-3


resample = jax.jit(ResampleDead(1))


@pytest.mark.parametrize("activation", ["topk", "jump_relu", "gated"])
def test_resampling_changes_dead_latents_alone_and_forgets_their_moments(activation):
    recipe, x = tiny(activation), normal((B, D), 5)
    state = start(recipe)
    for _ in range(2):
        state, _ = train_step(recipe)(state, {"x": x})
    state = in_numpy(state)
    dead = np.isin(np.arange(N), [2, 7])
    state = with_dead(state, dead)
    loss = np.full(B, CONSTANT, np.float32)
    loss[3] += 5.0  # The only example with a loss is the one that is drawn.
    seen = Observed({"x": x, "inputs": x}, loss, {"dead": dead})
    hook = jax.jit(ResampleDead(every=4))
    waits = hook(state._replace(step=np.int32(2)), seen, KEY)
    jax.tree.map(lambda a, b: close(a, b, 0), waits.params, state.params)
    new = in_numpy(hook(state._replace(step=np.int32(3)), seen, KEY))
    old_model, model = state.params["model"], new.params["model"]
    center = np.asarray(old_model["decoder"]["bias"])
    direction = (x[3] - center) / np.linalg.norm(x[3] - center)
    kernel = np.asarray(old_model["bottleneck"]["kernel"])
    norm = np.linalg.norm(kernel[:, ~dead], axis=0).mean()
    fresh = model["bottleneck"]["kernel"][:, dead]
    close(fresh, np.tile(0.2 * norm * direction[:, None], 2))
    close(model["decoder"]["atoms"][dead], np.tile(direction, (2, 1)))
    # An example at the decoder's bias excites no new latent.
    for name, bias in model["bottleneck"].items():
        if name.endswith("bias"):
            close(bias[dead] + center @ np.asarray(fresh), np.zeros(2))
    close(model["decoder"]["bias"], old_model["decoder"]["bias"], 0)
    close(model["decoder"]["atoms"][~dead], old_model["decoder"]["atoms"][~dead], 0)
    for name, value in old_model["bottleneck"].items():
        close(model["bottleneck"][name][..., ~dead], value[..., ~dead], 0)
    if activation == "jump_relu":
        logs = old_model["bottleneck"]["log_threshold"]
        mean = np.asarray(logs)[~dead].mean()
        close(model["bottleneck"]["log_threshold"][dead], np.full(2, mean))
    counts = new.collections["statistics"]["bottleneck"]["examples_since_active"]
    assert (counts == 0).all()
    for which in ("mu", "nu"):
        before, after = (getattr(s.opt_state[0], which)["model"] for s in (state, new))
        close(after["decoder"]["bias"], before["decoder"]["bias"], 0)
        keep = ~dead
        atoms = before["decoder"]["atoms"]
        close(after["decoder"]["atoms"], np.where(keep[:, None], atoms, 0), 0)
        assert (np.abs(atoms[keep]) > 0).any()
        for name, value in before["bottleneck"].items():
            close(after["bottleneck"][name], np.where(keep, value, 0), 0)


def test_resampling_draws_in_proportion_to_the_squared_loss():
    recipe, x = tiny(), normal((2, D), 5)
    state = with_dead(start(recipe), np.ones(N, bool))
    excess = np.asarray([1.0, 2.0], np.float32)
    batch = {"x": jnp.asarray(x), "inputs": jnp.asarray(x)}
    seen = Observed(batch, jnp.asarray(CONSTANT + excess), {"dead": jnp.ones(N, bool)})

    @jax.jit
    @jax.vmap
    def share(key):
        atoms = ResampleDead(1)(state, seen, key).params["model"]["decoder"]["atoms"]
        return (atoms @ (x[1] / np.linalg.norm(x[1])) > 0.999).astype(jnp.float32)

    drawn = share(jax.random.split(KEY, 400))
    assert abs(float(drawn.mean()) - 0.8) < 0.03
    with_weight = seen._replace(batch={**batch, "weight": jnp.asarray([1.0, 0.0])})
    new = resample(state, with_weight, KEY)
    atoms = new.params["model"]["decoder"]["atoms"]
    close(atoms, np.tile(x[0] / np.linalg.norm(x[0]), (N, 1)))


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_resampling_draws_no_example_of_zeros(scale):
    x = np.stack([np.zeros(D, np.float32), scale * normal(D, 5)])
    state = with_dead(start(tiny()), np.ones(N, bool))
    batch = {"x": jnp.asarray(x), "inputs": jnp.asarray(x)}
    loss = jnp.asarray(np.float32([CONSTANT + 9.0, CONSTANT + 1.0]))
    seen = Observed(batch, loss, {"dead": jnp.ones(N, bool)})
    new = resample(state, seen, KEY).params["model"]["decoder"]["atoms"]
    old = state.params["model"]["decoder"]["atoms"]
    close(new, np.tile(x[1] / np.linalg.norm(x[1]), (N, 1)) if scale else old)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_encoder_starts_as_the_transpose_of_the_centred_decoder(activation):
    recipe = tiny(activation)
    state = in_numpy(start(recipe))
    x = jnp.asarray(normal((B, D), 3))
    seen = Observed({"x": x, "inputs": x}, jnp.asarray(np.zeros(B, np.float32)), {})
    moved = state._replace(opt_state=jax.tree.map(np.ones_like, state.opt_state))
    tie = jax.jit(TieAtStart())
    tied = in_numpy(tie(moved, seen, KEY))
    encoder, decoder = (tied.params["model"][p] for p in ("bottleneck", "decoder"))
    atoms, mean = np.asarray(decoder["atoms"]), np.asarray(x).mean(axis=0)
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, rtol=1e-5)
    close(encoder["kernel"], atoms.T)
    close(decoder["bias"], mean)
    pre = np.asarray(x) @ np.asarray(encoder["kernel"]) + np.asarray(encoder["bias"])
    close(pre, (np.asarray(x) - mean) @ atoms.T)
    moments = tied.opt_state[0].mu["model"]
    assert (
        not moments["bottleneck"]["kernel"].any()
        and not moments["decoder"]["bias"].any()
    )
    later = tie(moved._replace(step=moved.step + np.int32(1)), seen, KEY)
    jax.tree.map(np.testing.assert_array_equal, later.params, moved.params)


@pytest.mark.slow
def test_batch_top_k_step_does_not_depend_on_the_device_count():
    recipe = tiny("batch_topk", dead_after=8, aux_weight=0.5, resample_every=2)
    batch = {"x": jnp.asarray(normal((16, D)))}
    state = start(recipe, batch)
    step = jax.jit(make_train_step(recipe, TX))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("data"))
    alone = jax.device_put((state, batch), jax.devices()[0])
    spread = jax.device_put(state, everywhere), jax.device_put(batch, split)
    results = []
    for current, data in (alone, spread):
        for _ in range(4):
            current, metrics = step(current, data)
        results.append((current.params, current.collections, metrics))
    one, many = results
    jax.tree.map(lambda a, b: close(a, b, 1e-5), one, many)
    kernels = (p["model"]["bottleneck"]["kernel"] for p in (state.params, one[0]))
    assert float(abs(np.subtract(*map(np.asarray, kernels))).max()) > 1e-3


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_vectors_stream_into_fit(activation):
    rng = np.random.default_rng(0)
    atoms = normal((4, D))
    codes = rng.random((64, 4)) * (rng.random((64, 4)) < 0.4)
    x = (codes @ atoms).astype(np.float32)
    recipe = tiny(activation, sparsity_weight=1e-3, resample_every=16, dead_after=64)
    batches = [x[i : i + 16] for i in range(0, 64, 16)]
    fit = jaxae.fit(recipe, batches, key=KEY, epochs=25, tx=TX, progress=False)
    first, last = fit.history[0], fit.history[-1]
    assert last["explained_variance"] > max(0.5, first["explained_variance"])
    scores = sparsity(fit.model, x, KEY, chunk=3)
    z = np.asarray(jaxae.encode(fit.model, x), np.float64)
    error = x - np.asarray(jaxae.decode(fit.model, z))
    close(scores["l0"], (z != 0).sum(axis=1).mean())
    close(scores["dead_fraction"], (z == 0).all(axis=0).mean())
    variance = ((x - x.mean(axis=0)) ** 2).sum()
    close(scores["explained_variance"], 1 - (error**2).sum() / variance, 1e-4)
    assert scores["explained_variance"] > 0.3


def test_images_go_through_the_recipe():
    recipe = sparse_autoencoder((4, 4, 1), 20, k=2, resample_every=1, dead_after=1)
    images = np.random.default_rng(0).integers(0, 256, (B, 4, 4, 1), np.uint8)
    fit = jaxae.fit(recipe, images, key=KEY, epochs=2, batch_size=4, progress=False)
    assert jaxae.reconstruct(fit.model, images).shape == images.shape
    assert (np.asarray(jaxae.encode(fit.model, images)) > 0).sum(axis=1).max() <= 2
    assert np.isfinite(fit.history[-1]["loss"])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Sparse(0), "latent_dim"),
        (lambda: Sparse(4, "topk", k=5), "k must"),
        (lambda: Sparse(4, "batch_topk", k=0), "k must"),
        (lambda: Sparse(40, bandwidth=0.0), "bandwidth"),
        (lambda: Sparse(40, dead_after=0), "dead_after"),
        (lambda: Dictionary((0,)), "shape"),
        (lambda: SparseReconstruction(-1.0), "penalty_weight"),
        (lambda: SparseReconstruction(aux_weight=-1.0), "aux_weight"),
        (lambda: SparseReconstruction(k_aux=0), "k_aux"),
        (lambda: ResampleDead(0), "every"),
        (lambda: ResampleDead(scale=0.0), "scale"),
    ],
)
def test_bad_arguments_are_named(make, name):
    with pytest.raises(ValueError, match=name):
        make()


def test_the_objective_names_a_bottleneck_that_is_not_sparse():
    network = jaxae.networks.FullyConnected(())
    recipe = jaxae.recipes.autoencoder((D,), 4, network=network)
    recipe = recipe.replace(objective=SparseReconstruction())
    with pytest.raises(ValueError, match="bottleneck"):
        train_step(recipe)(start(recipe), {"x": normal((2, D))})


def test_untrained_thresholds_let_positive_values_through():
    recipe = tiny("batch_topk")
    state = start(recipe)
    variables = {"params": state.params["model"], **state.collections}
    model = Model(recipe, variables)
    x = normal((B, D))
    batch = {"inputs": jnp.asarray(x)}
    (latent,) = call(recipe.module, variables, batch, KEY, method="encode")
    close(jaxae.encode(model, x), np.maximum(latent.info["pre_activations"], 0))


def test_atoms_are_what_a_code_adds_to_x():
    recipe = sparse_autoencoder((2, 3, 1), 8, k=2)
    variables = jax.device_get(jaxae.init(recipe, KEY).variables)
    longer = jax.tree.map(lambda a: jnp.asarray(3 * a), variables["params"])
    model = Model(recipe, {**variables, "params": longer})
    found = np.asarray(atoms(model))
    assert found.shape == (8, 2, 3, 1)
    np.testing.assert_allclose(np.square(found).sum(axis=(1, 2, 3)), 1.0, rtol=1e-5)
    codes = np.eye(8, dtype=np.float32)
    added = jaxae.decode(model, codes) - jaxae.decode(model, 0 * codes)
    np.testing.assert_allclose(added, found, atol=1e-5)


def test_a_transcoder_starts_and_begins_again_about_its_own_inputs():
    """From inputs of another shape to x."""
    recipe = sparse_autoencoder((3,), N, k=2, input_shape=(D,))
    x, inputs = normal((B, 3), 1), 5.0 + normal((B, D), 2)
    data = {"x": x, "inputs": inputs}
    state = with_dead(in_numpy(start(recipe)), np.arange(N) == 2)
    dead = jnp.arange(N) == 2
    loss = jnp.asarray(np.full(B, CONSTANT * 3 / D, np.float32)).at[3].add(5.0)
    seen = Observed({k: jnp.asarray(v) for k, v in data.items()}, loss, {"dead": dead})
    tied = in_numpy(jax.jit(TieAtStart())(state, seen, KEY)).params["model"]
    kernel = state.params["model"]["bottleneck"]["kernel"]
    close(tied["bottleneck"]["kernel"], kernel, 0)
    pre = inputs @ kernel + tied["bottleneck"]["bias"]
    close(pre, (inputs - inputs.mean(axis=0)) @ kernel)
    close(tied["decoder"]["bias"], x.mean(axis=0))
    new = in_numpy(resample(state, seen, KEY)).params["model"]
    away = inputs[3] - inputs.mean(axis=0)
    found = new["bottleneck"]["kernel"][:, 2]
    close(found / np.linalg.norm(found), away / np.linalg.norm(away))
    center = inputs.mean(axis=0) @ found + new["bottleneck"]["bias"][2]
    np.testing.assert_allclose(center, 0.0, atol=1e-5)


def test_a_sparse_transcoder_explains_another_x():
    rng = np.random.default_rng(0)
    inputs = rng.normal(3.0, 1.0, (300, 6)).astype(np.float32)
    x = np.maximum(inputs - 3.0, 0.0) @ rng.normal(size=(6, 4)).astype(np.float32)
    recipe = sparse_autoencoder(
        (4,), 32, k=6, input_shape=(6,), k_aux=4, resample_every=30
    )
    options = {"key": KEY, "epochs": 40, "batch_size": 50, "progress": False}
    data = {"x": x, "inputs": inputs}
    model = jaxae.fit(recipe, data, tx=optax.adam(1e-2), **options).model
    error = np.square(jaxae.reconstruct(model, inputs) - x).mean()
    assert error < 0.1 * x.var()
