"""The same numbers on any number of devices, and what travels between them."""

import math
import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec

import jaxae
from jaxae import Parallel, fit, make_train_step, networks, recipes
from jaxae.errors import ArgumentError
from jaxae.training import init_state, parallel
from jaxae.training import mapped as mapped_module
from jaxae.training.parallel import (
    DATA,
    by_path,
    compile_step,
    default_mesh,
    fsdp,
    gather,
    make_mesh,
    replicated,
    shardings,
)
from jaxae.training.placement import Share, local, place, place_batch
from train.scaling.compiled import collectives, memory

DEVICES = 8
SGD = optax.sgd(0.05)
VAE = recipes.vae((8,), 2, network=networks.FullyConnected((16,)))
# No noise and no statistics of the batch.
PLAIN = recipes.autoencoder((8,), 2, network=networks.FullyConnected((16,)))
NORMALISED = recipes.autoencoder(
    (8,), 2, network=networks.FullyConnected((16,), batch_norm=True)
)
CONV = recipes.autoencoder(
    (8, 8, 1), 2, network=networks.Convolutional((8,), batch_norm=True)
)
VQ = recipes.vqvae((4, 4, 1), 16, 8, network=networks.Convolutional((8,)))
FACTOR = recipes.factor_vae(
    (8,), 2, network=networks.FullyConnected((16,)), hidden=(16,)
)

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def mesh():
    assert jax.device_count() == DEVICES
    return make_mesh()


@pytest.fixture
def all_sharded(monkeypatch):
    """Tiny arrays are divided too."""
    monkeypatch.setattr(parallel, "LEAST_SHARDED", 1)


def alone():
    return make_mesh(devices=jax.devices()[:1])


def sgd_for(recipe):
    """At 0.05 some diverge, and so do the last bits of their numbers."""
    return optax.sgd(0.002) if recipe in (CONV, FACTOR) else SGD


def rows(recipe, count, seed=0):
    shape = (count, *recipe.module.shape)
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


@cache
def init(recipe, tx):
    return jax.jit(partial(init_state, recipe, tx))


def start(recipe, tx=SGD):
    example = {"x": np.zeros((2, *recipe.module.shape), np.float32)}
    return init(recipe, tx)(example, jax.random.key(0))


def shapes(recipe, tx=SGD):
    """Of what a training starts with, which is not compiled."""
    return jax.eval_shape(lambda: start(recipe, tx))


def make_step(recipe, tx, mesh, layout, **options):
    """The compiled step with what the layout needs."""
    gathered = gather(mesh, layout)
    step = make_train_step(recipe, tx, gather=gathered, **options)
    return compile_step(step, mesh, layout)


def steps(recipe, mesh, layout, batch, count=20, tx=SGD, **options):
    """The state and the losses after some steps from the same start."""
    step = make_step(recipe, tx, mesh, layout, **options)
    state, losses = place(start(recipe, tx), mesh, layout), []
    for _ in range(count):
        state, metrics = step(state, place_batch(batch, mesh))
        losses.append(metrics["loss"])
    return state, np.asarray(losses)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_what_is_placed_is_a_copy(count):
    """The step takes the state that it is given, and what was placed serves again."""
    mesh = make_mesh(devices=jax.devices()[:count])
    kept = {"mean": jnp.ones(3), "count": jnp.zeros((), jnp.int32)}
    add = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    for _ in range(2):
        add(place(kept, mesh))
    assert not any(leaf.is_deleted() for leaf in kept.values())


def assert_close(a, b, atol=1e-5):
    def check(path, x, y):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(x, y, rtol=0, atol=atol, err_msg=name)

    jax.tree_util.tree_map_with_path(check, a, b)


def learned(state):
    return {"params": state.params, "collections": state.collections}


def names(tree):
    """Leaves by their path, as a layout gets them."""
    pairs = jax.tree_util.tree_leaves_with_path(tree)
    separated = partial(jax.tree_util.keystr, simple=True, separator=".")
    return {separated(path): leaf for path, leaf in pairs}


def divided(tree):
    """The leaves of which no device has all."""
    leaves = names(tree).items()
    return {name for name, x in leaves if not x.sharding.is_fully_replicated}


def count_bytes(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def on_one_device(tree):
    """Bytes of the shards on the first device."""
    first = jax.devices()[0]
    return sum(
        shard.data.nbytes
        for leaf in jax.tree.leaves(tree)
        for shard in leaf.addressable_shards
        if shard.device == first
    )


# --- Meshes and layouts ---


def test_a_mesh_is_of_all_devices_unless_told():
    mesh = make_mesh()
    assert dict(mesh.shape) == {DATA: DEVICES}
    assert mesh.axis_types == (AxisType.Auto,)
    assert set(mesh.devices.flat) == set(jax.devices())
    assert dict(make_mesh({DATA: -1, "model": 2}).shape) == {DATA: 4, "model": 2}
    few = make_mesh({"model": 2, DATA: 2}, jax.devices()[4:])
    assert few.axis_names == ("model", DATA)
    assert list(few.devices.flat) == jax.devices()[4:]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"model": 8}, r"axes must be with a 'data', got {'model': 8}"),
        ({DATA: 3}, r"axes must be sizes with the product 8, the devices, got"),
        ({DATA: -1, "model": -1}, r"axes must be sizes with the product 8"),
        ({DATA: -1, "model": 3}, r"axes must be sizes with the product 8"),
        ({DATA: -1, "model": 0}, r"axes must be sizes with the product 8"),
        ({DATA: -2, "model": -4}, r"axes must be sizes with the product 8"),
        ({DATA: 16}, r"axes must be sizes with the product 8"),
    ],
)
def test_a_mesh_that_cannot_be(axes, message):
    with pytest.raises(ArgumentError, match=message):
        make_mesh(axes)


def test_the_default_mesh_follows_the_default_device():
    assert list(default_mesh().devices.flat) == [jax.devices()[0]]
    with jax.default_device(jax.devices()[3]):
        assert list(default_mesh().devices.flat) == [jax.devices()[3]]
    with jax.default_device("cpu"):
        assert list(default_mesh().devices.flat) == [jax.devices()[0]]
    with jax.default_device(None):
        assert list(default_mesh().devices.flat) == jax.devices()


def test_fsdp_divides_the_largest_axis_that_fits(mesh, monkeypatch):
    assert fsdp("", (784, 512), mesh) == PartitionSpec(DATA)
    assert fsdp("", (512, 784), mesh) == PartitionSpec(None, DATA)
    assert fsdp("", (513, 64), mesh) == PartitionSpec(None, DATA)
    assert fsdp("", (513, 65), mesh) == PartitionSpec()
    # Less than 1,024 values.
    assert fsdp("", (1016,), mesh) == PartitionSpec()
    assert fsdp("", (1024,), mesh) == PartitionSpec(DATA)
    monkeypatch.setattr(parallel, "LEAST_SHARDED", 8)
    assert fsdp("", (8,), mesh) == PartitionSpec(DATA)
    assert fsdp("", (), mesh) == PartitionSpec()


def test_the_first_pattern_that_is_found_decides(mesh):
    layout = by_path(
        [(r"Dense_0\.kernel$", PartitionSpec(None, DATA)), (r"Dense", PartitionSpec())],
        otherwise=fsdp,
    )
    assert layout("params.a.Dense_0.kernel", (4, 8), mesh) == PartitionSpec(None, DATA)
    assert layout("params.a.Dense_0.bias", (2048,), mesh) == PartitionSpec()
    assert layout("params.b.Conv_0.bias", (2048,), mesh) == PartitionSpec(DATA)


def test_a_malformed_pattern_is_named():
    with pytest.raises(ArgumentError, match=r"table: 'Dense_\(' is malformed: .*"):
        by_path([(r"fine", PartitionSpec()), (r"Dense_(", PartitionSpec())])


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(PartitionSpec("pipe"), id="no such axis of the mesh"),
        pytest.param(PartitionSpec(None, (DATA, "pipe")), id="one of two unknown"),
        pytest.param(PartitionSpec(None, DATA), id="does not divide"),
        pytest.param(PartitionSpec((DATA, "model")), id="do not divide together"),
        pytest.param(PartitionSpec(None, None, DATA), id="too many"),
        pytest.param(PartitionSpec("model", "model"), id="one axis twice"),
    ],
)
def test_a_partition_that_does_not_fit_is_named(spec):
    mesh = make_mesh({DATA: 4, "model": 2})
    layout = by_path([("kernel", spec)])
    with pytest.raises(ArgumentError) as raised:
        shardings({"params": {"kernel": jnp.zeros((4, 6))}}, mesh, layout)
    message = str(raised.value)
    assert "table must be a partition of params.kernel (4, 6) over" in message
    assert "{'data': 4, 'model': 2}" in message and str(spec) in message


def test_partitions_that_fit_are_as_given():
    mesh = make_mesh({DATA: 4, "model": 2})
    for spec in (PartitionSpec((DATA, "model"), None), PartitionSpec(None, "model")):
        where = shardings({"kernel": jnp.zeros((8, 6))}, mesh, by_path([("k", spec)]))
        assert where["kernel"].spec == spec


# --- Placement ---


def test_a_state_goes_to_the_mesh_and_back(mesh, all_sharded):
    state = start(VAE, optax.adam(1e-3))
    placed = place(state, mesh, fsdp)
    kernel = "params.model.encoder.Dense_0.kernel"
    assert kernel in divided(placed)
    # The moments lie as the parameters do.
    moments = {
        f"opt_state.0.{m}" + kernel.removeprefix("params") for m in "mu nu".split()
    }
    assert moments <= divided(placed)
    assert all(len(leaf.devices()) == DEVICES for leaf in jax.tree.leaves(placed))
    back = local(placed)
    assert all(leaf.devices() == {jax.devices()[0]} for leaf in jax.tree.leaves(back))
    for a, b in ((state, placed), (state, back)):
        assert_close(learned(a), learned(b), 0)
        assert (jax.random.key_data(a.key) == jax.random.key_data(b.key)).all()


def test_place_copies():
    state = start(VAE)
    placed = place(state, alone())
    jax.tree.map(lambda leaf: leaf.delete(), placed)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize("count", [16, 12, 3])
def test_a_batch_is_divided_where_the_devices_divide_it(mesh, count):
    batch = {"x": rows(VAE, count), "weight": np.ones(count, np.float32)}
    placed = place_batch(batch, mesh)
    even = count % DEVICES == 0
    for name, values in placed.items():
        np.testing.assert_array_equal(values, batch[name])
        assert len(values.devices()) == DEVICES
        shard = values.addressable_shards[3]
        assert shard.data.shape[0] == (count // DEVICES if even else count)


def test_a_share_of_a_batch(mesh):
    batch = {"x": rows(VAE, 16)}
    placed = place_batch(Share(batch, 16), mesh)["x"]
    np.testing.assert_array_equal(placed, batch["x"])
    assert placed.addressable_shards[0].data.shape[0] == 2
    with pytest.raises(ArgumentError, match=r"the batch size must be divided by the 8"):
        place_batch(Share({"x": rows(VAE, 12)}, 12), mesh)


# --- The same numbers on any number of devices ---


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(VAE, id="VAE"),
        pytest.param(CONV, id="BatchNorm conv", marks=slow),
        pytest.param(VQ, id="VQ-EMA", marks=slow),
        pytest.param(FACTOR, id="FactorVAE", marks=slow),
    ],
)
def test_numbers_do_not_depend_on_the_devices(mesh, all_sharded, recipe):
    batch, tx = {"x": rows(recipe, 16)}, sgd_for(recipe)
    one, losses = steps(recipe, alone(), replicated, batch, tx=tx)
    begin = start(recipe).params
    moved = jax.tree.map(
        lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(), begin, one.params
    )
    assert max(jax.tree.leaves(moved)) > 1e-2
    for layout in (replicated, fsdp):
        many, its_losses = steps(recipe, mesh, layout, batch, tx=tx)
        np.testing.assert_allclose(its_losses, losses, rtol=1e-5, atol=1e-5)
        assert_close(learned(one), learned(many))
        assert all(len(leaf.devices()) == DEVICES for leaf in jax.tree.leaves(many))
        kernels = {n for n in names(many.params) if n.endswith("kernel")}
        expected = kernels if layout is fsdp else set()
        assert divided(many.params) & kernels == expected


def test_a_wide_layer_in_tensor_parallel():
    """Its units are divided over "model", and the batch over "data"."""
    mesh = make_mesh({DATA: 4, "model": 2})
    layout = by_path(
        [
            (r"encoder\.Dense_0\.kernel$", PartitionSpec(None, "model")),
            (r"encoder\.Dense_0\.bias$", PartitionSpec("model")),
            # The next layer sums over the units.
            (r"bottleneck.*kernel$", PartitionSpec("model")),
        ]
    )
    batch, tx = {"x": rows(VAE, 16)}, optax.sgd(0.05, momentum=0.9)
    one, losses = steps(VAE, alone(), replicated, batch, tx=tx)
    many, its_losses = steps(VAE, mesh, layout, batch, tx=tx)
    np.testing.assert_allclose(its_losses, losses, rtol=1e-5, atol=1e-5)
    assert_close(learned(one), learned(many))
    wide = r"encoder\.Dense_0\.(kernel|bias)$|bottleneck.*kernel$"
    expected = {name for name in names(many) if re.search(wide, name)}
    # Kernels, a bias and the momentum of each.
    assert divided(many) == expected and len(expected) == 6
    kernel = many.params["model"]["encoder"]["Dense_0"]["kernel"]
    for shard in kernel.addressable_shards:
        ((_, model),) = np.argwhere(mesh.devices == shard.device)
        assert shard.index == (slice(None), slice(8 * model, 8 * model + 8))


# --- What travels, and what is kept ---


def program(recipe, mesh, layout, count=16, tx=SGD, **options):
    """The compiled step, by shapes alone."""
    step = make_step(recipe, tx, mesh, layout, **options)
    state = shapes(recipe, tx)
    state = described(state, shardings(state, mesh, layout))
    x = jax.ShapeDtypeStruct((count, *recipe.module.shape), jnp.float32)
    batch = described({"x": x}, jax.NamedSharding(mesh, PartitionSpec(DATA)))
    return step.lower(state, batch).compile()


def described(tree, where):
    if isinstance(where, jax.NamedSharding):
        where = jax.tree.map(lambda _: where, tree)
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, where
    )


# The loss, the metrics and whether all is finite.
FEW = 64


@pytest.mark.usefixtures("optimized")
def test_data_parallel_sums_the_gradients_once(mesh):
    moved = collectives(program(VAE, mesh, replicated))
    weights = count_bytes(shapes(VAE).params)
    assert set(moved) == {"all-reduce"}
    assert moved["all-reduce"].count == 1
    assert weights <= moved["all-reduce"].bytes <= weights + FEW


@pytest.mark.usefixtures("optimized")
def test_batch_statistics_travel_too(mesh):
    state = shapes(CONV)
    moved = collectives(program(CONV, mesh, replicated))
    weights, statistics = count_bytes(state.params), count_bytes(state.collections)
    assert set(moved) == {"all-reduce"} and statistics > 0
    assert moved["all-reduce"].bytes >= weights + statistics
    assert moved["all-reduce"].bytes <= weights + 2 * statistics + FEW


def test_one_device_sends_nothing():
    assert collectives(program(VAE, alone(), replicated)) == {}


# The sizes that MNIST has.
WIDE = recipes.vae((784,), 16, network=networks.FullyConnected((512,)))


def test_fsdp_keeps_an_eighth_on_every_device(mesh):
    state = place(start(WIDE, optax.adam(1e-3)), mesh, fsdp)
    kept = {"params": state.params, "opt_state": state.opt_state}
    # Biases of less than 1,024 values and the optimizer's count are whole.
    assert on_one_device(kept) <= 1.05 / DEVICES * count_bytes(kept)


@pytest.mark.usefixtures("optimized")
def test_fsdp_gathers_the_parameters_once(mesh):
    examples = 40  # no size of the model
    compiled = program(WIDE, mesh, fsdp, examples, optax.adam(1e-3))
    moved = collectives(compiled)
    state = shapes(WIDE)
    sizes = {name: math.prod(leaf.shape) for name, leaf in names(state.params).items()}
    weights = 4 * sum(sizes.values())
    spread = 4 * sum(size for size in sizes.values() if size >= 1024)
    assert moved["all-gather"].bytes == spread <= weights
    # XLA has no reduce-scatter on the CPU: it sums, and every device takes its part.
    sums = {name: moved[name].bytes for name in moved if name != "all-gather"}
    # The gradient's norm on the CPU is summed by rows, and those sums over the devices.
    rows = 4 * sum(math.prod(leaf.shape[:-1]) for leaf in jax.tree.leaves(state.params))
    assert weights <= sum(sums.values()) <= weights + rows + FEW < 1.01 * weights
    gathered = re.findall(r"= (.*?) all-gather(?:-start)?\(", compiled.as_text())
    assert gathered
    for types in gathered:
        for shape in re.findall(r"\[([\d,]*)\]", types):
            assert str(examples) not in shape.split(","), types


# --- The compiled step ---


@pytest.mark.parametrize("placed", [True, False])
def test_the_state_is_donated_and_traced_once(mesh, placed):
    traces = []
    step = make_train_step(VAE, SGD)

    def traced(state, batch):
        traces.append(batch["x"].shape)
        return step(state, batch)

    compiled = compile_step(traced, mesh)
    before = state = place(start(VAE), mesh)
    for seed in range(3):
        batch = {"x": rows(VAE, 16, seed)}
        state, _ = compiled(state, place_batch(batch, mesh) if placed else batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.params))
    assert int(state.step) == 3
    assert traces == [(16, 8)]


@pytest.mark.parametrize(
    "count", [pytest.param(10, marks=slow), 3, pytest.param(1, marks=slow)]
)
def test_batches_that_the_devices_do_not_divide(mesh, all_sharded, count):
    batch = {"x": rows(NORMALISED, count), "weight": np.linspace(0.5, 2, count)}
    batch["weight"] = batch["weight"].astype(np.float32)
    one, losses = steps(NORMALISED, alone(), replicated, batch, count=3)
    for layout in (replicated, fsdp):
        many, its_losses = steps(NORMALISED, mesh, layout, batch, count=3)
        np.testing.assert_allclose(its_losses, losses, rtol=1e-5)
        assert_close(learned(one), learned(many))


# --- Epochs ---


def train(recipe, images, **options):
    options = {"key": jax.random.key(0), "epochs": 2, "tx": SGD} | options
    if hasattr(images, "shape"):
        options = {"batch_size": 8} | options
    return fit(recipe, images, progress=False, **options)


def stream(recipe=VAE, sizes=(8, 16, 6)):
    return [rows(recipe, size, seed) for seed, size in enumerate(sizes)]


def assert_same_training(a, b, atol=1e-5):
    assert_close(learned(a.state), learned(b.state), atol)
    assert_close(a.model.variables, b.model.variables, atol)
    assert a.best_epoch == b.best_epoch
    timing = ("seconds", "examples_per_second")
    for mine, its in zip(a.history, b.history, strict=True):
        assert mine.keys() == its.keys()
        for name in mine.keys() - set(timing):
            assert mine[name] == pytest.approx(its[name], rel=1e-5, abs=1e-5), name


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(rows(VAE, 22), id="array"),  # the last batch has 6
        pytest.param(stream(), id="stream", marks=slow),
    ],
)
@pytest.mark.parametrize("layout", [replicated, pytest.param(fsdp, marks=slow)])
def test_a_training_is_the_same_on_all_devices(mesh, all_sharded, images, layout):
    x = rows(VAE, 13, seed=9)
    one = train(VAE, images, validation=x)
    many = train(VAE, images, validation=x, parallel=Parallel(mesh, layout))
    assert_same_training(one, many)
    assert "validation_loss" in one.history[0]
    leaves = jax.tree.leaves(many.state)
    assert all(len(leaf.devices()) == DEVICES for leaf in leaves)
    assert bool(divided(many.state.params)) == (layout is fsdp)
    for placed in (x, jnp.asarray(x)):
        again = jaxae.reconstruct(many.model, placed)
        np.testing.assert_allclose(again, jaxae.reconstruct(one.model, x), atol=1e-5)


@slow
def test_all_devices_are_used_unless_told():
    with jax.default_device(None):
        many = train(VAE, rows(VAE, 22))
    assert_same_training(train(VAE, rows(VAE, 22)), many)
    leaves = jax.tree.leaves(many.state)
    assert all(len(leaf.devices()) == DEVICES for leaf in leaves)


# --- pmap ---


@pytest.fixture
def mapped(mesh):
    return Parallel(mesh, replicated, pmap=True)


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(rows(PLAIN, 24), id="array"),
        pytest.param(stream(PLAIN, (8, 16)), id="stream", marks=slow),
    ],
)
def test_pmap_without_noise_is_the_same_training(mapped, images):
    x = rows(PLAIN, 5, seed=9)
    expected = train(PLAIN, images, validation=x)
    assert_same_training(expected, train(PLAIN, images, validation=x, parallel=mapped))


LEARNED_CODES = recipes.vqvae(
    (8,), 16, 4, network=networks.FullyConnected((16,)), codebook="gradient"
)


@pytest.mark.slow
@slow
@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(
            recipes.vqvae((8,), 16, 4, network=networks.FullyConnected((16,))), id="EMA"
        ),
        pytest.param(LEARNED_CODES, id="hooks"),
    ],
)
def test_pmap_keeps_one_state_for_all_devices(mesh, mapped, recipe):
    """Hooks and averages of every device's share, of which all take the same."""
    step = make_train_step(recipe, SGD, DATA)
    spread, mapped_step, _ = mapped_module.mapped_step(lambda numbers: step, mesh)
    states, batch = spread(start(recipe)), {"x": jnp.asarray(rows(recipe, 16))}
    for _ in range(3):
        states, metrics = mapped_step(states, batch, {})
    assert np.isfinite(metrics["loss"]) and (states.skipped_in_row == 0).all()
    for name, leaf in names(learned(states)).items():
        first = np.broadcast_to(leaf[:1], leaf.shape)
        np.testing.assert_array_equal(leaf, first, err_msg=name)
    history = train(recipe, rows(recipe, 24), epochs=4, parallel=mapped).history
    assert history[-1]["loss"] < history[0]["loss"]


def test_pmap_leaves_out_rows_that_do_not_divide(mapped):
    """18 rows are a batch of 16 and two more, which 8 devices cannot share."""
    images = rows(PLAIN, 18)
    result = train(PLAIN, images, batch_size=16, epochs=1, parallel=mapped)
    row = result.history[0]
    assert row["skipped_steps"] == 0 and np.isfinite(list(row.values())).all()
    assert int(result.state.step) == 1


def test_pmap_weighs_batches_by_the_weights_of_all_devices(mapped):
    """The first device has no example that counts."""
    weights = np.ones((2, 8), np.float32)
    weights[0, 0] = 0
    x = rows(PLAIN, 16).reshape(2, 8, 8)
    batches = [{"x": a, "weight": w} for a, w in zip(x, weights, strict=True)]
    still = {"tx": optax.sgd(0.0), "epochs": 1, "parallel": mapped}
    both = train(PLAIN, batches, **still).history[0]
    each = [train(PLAIN, [batch], **still).history[0] for batch in batches]
    expected = np.average([row["loss"] for row in each], weights=[7, 8])
    assert both["loss"] == pytest.approx(expected, rel=1e-5)


def test_what_pmap_does_not_do(mesh, mapped):
    x = rows(PLAIN, 16)
    with pytest.raises(ArgumentError, match=r"batch_size must be a multiple of the 8"):
        train(PLAIN, x, batch_size=12, parallel=mapped)
    with pytest.raises(ArgumentError, match=r"data must be a multiple of 8 rows"):
        train(PLAIN, stream(PLAIN, (12,)), parallel=mapped)
    with pytest.raises(ArgumentError, match=r"data must be .*8.*got 5"):
        train(PLAIN, x[:5], parallel=mapped)
    for wrong in (
        Parallel(mesh, fsdp, pmap=True),
        Parallel(make_mesh({DATA: 4, "model": 2}), replicated, pmap=True),
    ):
        with pytest.raises(ArgumentError, match=r"parallel must have the layout `repl"):
            train(PLAIN, x, parallel=wrong)


# --- Batches in parts, and less memory ---


def one_step(recipe, batch, mesh=None, tx=SGD, **options):
    """The state and the metrics after one step."""
    mesh = mesh or alone()
    step = make_step(recipe, tx, mesh, replicated, **options)
    return step(place(start(recipe, tx), mesh), place_batch(batch, mesh))


def weighted(recipe, count):
    weight = np.random.default_rng(3).uniform(size=count).astype(np.float32)
    return {"x": rows(recipe, count), "weight": weight}


@pytest.mark.parametrize(
    "batch", [{"x": rows(PLAIN, 16)}, weighted(PLAIN, 16)], ids=["alike", "weighted"]
)
@pytest.mark.parametrize("devices", [pytest.param(1, marks=slow), DEVICES])
def test_a_batch_in_parts_has_the_same_gradient(mesh, batch, devices):
    whole, metrics = one_step(PLAIN, batch)
    where = mesh if devices > 1 else alone()
    parts, its_metrics = one_step(PLAIN, batch, where, accumulate=4)
    assert_close(learned(whole), learned(parts), 1e-6)
    assert_close(metrics, its_metrics)
    assert metrics.keys() == its_metrics.keys()


@pytest.mark.parametrize(
    ("count", "accumulate"),
    [(10, 4), pytest.param(7, 4, marks=slow), pytest.param(2, 3, marks=slow)],
)
def test_a_batch_that_does_not_divide_has_fewer_parts(count, accumulate):
    batch = weighted(PLAIN, count)
    whole, metrics = one_step(PLAIN, batch)
    parts, its_metrics = one_step(PLAIN, batch, accumulate=accumulate)
    assert_close(learned(whole), learned(parts), 1e-6)
    assert_close(metrics, its_metrics)


def test_a_part_without_weight_counts_for_nothing():
    """Part i of four has the rows i, i + 4, ...: those of the first weigh nothing."""
    batch = weighted(PLAIN, 16)
    batch["weight"][::4] = 0
    whole, metrics = one_step(PLAIN, batch)
    parts, its_metrics = one_step(PLAIN, batch, accumulate=4)
    assert_close(learned(whole), learned(parts), 1e-6)
    assert_close(metrics, its_metrics)


@slow
def test_running_averages_move_at_every_part():
    x = rows(NORMALISED, 16)
    state = start(NORMALISED)
    kernel = state.params["model"]["encoder"]["Dense_0"]["kernel"]
    (layer,) = state.collections["batch_stats"]["encoder"]
    mean = np.zeros(16)
    for part in range(4):
        mean = 0.9 * mean + 0.1 * (x[part::4] @ np.asarray(kernel)).mean(axis=0)
    mean /= 1 - 0.9**4  # a mean of those that there were
    moved, _ = one_step(NORMALISED, {"x": x}, accumulate=4)
    after = moved.collections["batch_stats"]["encoder"][layer]["mean"]
    np.testing.assert_allclose(after, mean, rtol=1e-4, atol=1e-7)


def test_hooks_see_the_last_part():
    def note(state, seen, key):
        (x,) = (seen.batch["x"],)
        bias = state.params["model"]["encoder"]["Dense_0"]["bias"]
        new = jnp.full_like(bias, x.shape[0]).at[:8].set(x[0])
        params = jax.tree.map(lambda leaf: leaf, state.params)
        params["model"]["encoder"]["Dense_0"]["bias"] = new
        return state._replace(params=params)

    x = rows(PLAIN, 16)
    state, _ = one_step(PLAIN.replace(hooks=(note,)), {"x": x}, accumulate=4)
    bias = state.params["model"]["encoder"]["Dense_0"]["bias"]
    np.testing.assert_allclose(bias[:8], x[3], rtol=1e-6)
    np.testing.assert_array_equal(bias[8:], 4)


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
def test_every_part_sends_its_gradient(mesh):
    """As the sums of the parts are added up where they are the same everywhere."""
    moved = collectives(program(VAE, mesh, replicated, accumulate=2))
    weights = count_bytes(shapes(VAE).params)
    assert set(moved) == {"all-reduce"}
    assert 2 * weights <= moved["all-reduce"].bytes <= 2 * (weights + FEW)
    assert moved["all-reduce"].count == 2


@pytest.mark.parametrize("recipe", [VAE, pytest.param(CONV, marks=slow)])
@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=slow)])
def test_activations_that_are_computed_again_are_the_same(recipe, accumulate):
    batch, tx = {"x": rows(recipe, 16)}, sgd_for(recipe)
    options = {"tx": tx, "accumulate": accumulate}
    kept, metrics = one_step(recipe, batch, **options)
    again, its_metrics = one_step(recipe, batch, remat=True, **options)
    assert_close(learned(kept), learned(again), 1e-6)
    assert_close(metrics, its_metrics, 1e-4)


@pytest.mark.usefixtures("optimized")
def test_a_batch_in_parts_needs_less_memory():
    whole, parts = (
        memory(program(CONV, alone(), replicated, 64, accumulate=n)).temporaries
        for n in (1, 8)
    )
    assert parts < whole / 2


def test_fsdp_leaves_codebooks_whole():
    """A step uses them in several places: divided they would be gathered again."""
    recipe = recipes.vqvae((8, 8, 1), 512, 8, network=networks.Convolutional((8,)))
    tx, batch = optax.adam(1e-3), {"x": jnp.zeros((16, 8, 8, 1))}
    state = jax.eval_shape(partial(init_state, recipe, tx), batch, jax.random.key(0))
    where = parallel.shardings(state, make_mesh(), parallel.fsdp)
    sizes = [leaf.size for leaf in jax.tree.leaves(state.collections)]
    assert max(sizes) >= parallel.LEAST_SHARDED
    specs = [leaf.spec for leaf in jax.tree.leaves(where.collections)]
    assert all(spec == PartitionSpec() for spec in specs)
