"""Many trainings in one program: each is what it would be alone."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import TypeCheckError

import jaxae
from jaxae import Progress, TrainingDiverged, fit, networks, objectives, recipes
from jaxae.errors import ArgumentError
from jaxae.training import fit_many, many
from jaxae.training.loop import Best
from jaxae.training.parallel import make_mesh
from jaxae.training.placement import place
from train.scaling.compiled import collectives

slow = pytest.mark.slow
TIMING = ("seconds", "examples_per_second")
VAE = recipes.vae((4,), 2, network=networks.FullyConnected((3,)))
NORMALISED = recipes.autoencoder(
    (4,), 2, network=networks.FullyConnected((3,), batch_norm=True)
)
ADAM, SGD = optax.adam(1e-2), optax.sgd(0.05)
# What reaches the decoder's BatchNorm through a bias has a gradient of zero, of whose
# rounding Adam makes steps.
FAMILIES = {"VAE": (VAE, ADAM), "BatchNorm": (NORMALISED, SGD)}


def rows(count=10, seed=0):
    values = np.random.default_rng(seed).uniform(size=(count, 4))
    return values.astype(np.float32)


def seeds(count):
    return jax.vmap(jax.random.key)(jnp.arange(count))


X, HELD_OUT = rows(), rows(5, seed=1)
OPTIONS = {"epochs": 2, "batch_size": 4, "progress": False, "validation": HELD_OUT}
SHORT = {"epochs": 1, "validation": None}


def train(build, count=3, **options):
    keys = seeds(count)
    return fit_many(build, X, **({"keys": keys} | OPTIONS | options))


def train_one(recipe, tx=ADAM, seed=0, **options):
    options = {"key": jax.random.key(seed), "tx": tx} | OPTIONS | options
    return fit(recipe, X, **options)


def plain(state):
    """Without the key, which numpy cannot hold."""
    return state._replace(key=jax.random.key_data(state.key))


def assert_same(a, b, rtol=1e-5):
    """All that a training gives but the time."""

    def check(path, x, y):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol / 10, err_msg=name)

    jax.tree_util.tree_map_with_path(check, plain(a.state), plain(b.state))
    jax.tree_util.tree_map_with_path(check, a.model.variables, b.model.variables)
    assert a.best_epoch == b.best_epoch
    for mine, its in zip(a.history, b.history, strict=True):
        assert mine.keys() == its.keys()
        for name in mine.keys() - set(TIMING):
            assert mine[name] == pytest.approx(its[name], rel=rtol, abs=rtol), name


@pytest.fixture(scope="module")
def trained():
    """Three members of every family."""
    return lru_cache(lambda family: train(lambda value: FAMILIES[family]))


@pytest.fixture(scope="module")
def three(trained):
    return trained("VAE")


families = pytest.mark.parametrize(
    "family", ["VAE", pytest.param("BatchNorm", marks=slow)]
)


@families
def test_every_member_is_its_own_training(trained, family):
    """X has a last batch of two."""
    members = trained(family)
    assert len(members) == 3
    for seed, member in enumerate(members):
        assert_same(member, train_one(*FAMILIES[family], seed=seed))
        assert int(member.state.step) == 6
        assert "validation_loss" in member.history[1]
        assert bool(member.state.collections) == (family == "BatchNorm")
    assert len({member.history[0]["loss"] for member in members}) == 3


@pytest.mark.slow
@families
def test_members_at_once_are_those_that_take_turns(trained, family, monkeypatch):
    """Accelerators train them in one vmap, a CPU one after the other."""
    expected = trained(family)
    at_once = []

    def vmapped(function, arguments):
        at_once.append(True)
        return jax.vmap(function)(arguments)

    monkeypatch.setattr(jax.lax, "map", vmapped)
    members = train(lambda value: FAMILIES[family])
    assert len(at_once) == 3  # to begin, an epoch, the validation
    for a, b in zip(members, expected, strict=True):
        assert_same(a, b)


@slow
def test_accumulation_and_activations_computed_again():
    options = {"accumulate": 2, "remat": True, "epochs": 1}
    members = train(lambda value: (VAE, ADAM), 2, **options)
    assert_same(members[1], train_one(VAE, seed=1, **options))


@slow
def test_labels_and_weights_go_along():
    fields = {"x": X, "weight": np.linspace(0, 1, 10), "label": np.arange(10)}
    keys = seeds(2)
    members = fit_many(lambda value: (VAE, ADAM), fields, keys=keys, **OPTIONS)
    expected = fit(VAE, fields, key=jax.random.key(1), tx=ADAM, **OPTIONS)
    assert_same(members[1], expected)


# --- Devices ---


def test_members_are_dealt_out_to_the_devices(three, monkeypatch):
    programs, timed = [], many.timed

    def noted(epoch, count):
        run = timed(epoch, count)

        def both(*arguments):
            if not programs:
                programs.append(epoch.lower(*arguments).compile())
            return run(*arguments)

        return both

    monkeypatch.setattr(many, "timed", noted)
    members = train(lambda value: (VAE, ADAM), 8, mesh=make_mesh())
    for member, expected in zip(members, three, strict=False):
        assert_same(member, expected)
    # Nothing travels between them.
    assert collectives(programs[0]) == {}


@pytest.mark.parametrize(("count", "used"), [(8, 8), (6, 2), (3, 1), (16, 8)])
def test_as_many_devices_as_divide_the_members(count, used):
    assert many._part_of(make_mesh(), count).size == used


# --- Values ---


@pytest.mark.slow
def test_values_are_weights_of_the_objective():
    betas = jnp.asarray([0.1, 1.0, 4.0])

    def build(beta):
        # As a schedule, which may return an array.
        objective = objectives.ELBO(lambda step: beta)
        return VAE.replace(objective=objective), ADAM

    one_seed = jnp.repeat(seeds(1), 3)
    members = train(build, keys=one_seed, values=betas)
    for beta, member in zip(betas.tolist(), members, strict=True):
        assert_same(member, train_one(*build(beta)))
    assert len({member.history[1]["loss"] for member in members}) == 3


@pytest.mark.slow
def test_values_are_trees_and_learning_rates():
    values = {"rate": np.asarray([0.0, 0.1], np.float32), "weight": np.ones(2)}

    def build(value):
        return VAE, optax.sgd(value["rate"])

    still, moved = train(build, keys=jnp.repeat(seeds(1), 2), values=values)
    assert_same(moved, train_one(VAE, optax.sgd(0.1)))
    assert_same(still, train_one(VAE, optax.sgd(0.0)))
    kernel = still.state.params["model"]["encoder"]["Dense_0"]["kernel"]
    assert (kernel != moved.state.params["model"]["encoder"]["Dense_0"]["kernel"]).any()


@pytest.mark.slow
def test_a_member_that_diverges_does_not_hurt_the_others(three):
    rates = jnp.asarray([1e-2, 1e30, 1e-2])
    members = train(lambda rate: (VAE, optax.adam(rate)), values=rates, max_skipped=2)
    for i in (0, 2):
        assert_same(members[i], three[i])
    lost = members[1]
    assert lost.best_epoch == 0 and len(lost.history) == 2
    assert lost.history[1]["skipped_steps"] == 3
    assert not np.isfinite(lost.history[1]["validation_loss"])
    # Its model is the one that it began with.
    still = train_one(VAE, optax.sgd(0.0), seed=1)
    pairs = jax.tree.map(np.allclose, lost.model.variables, still.model.variables)
    assert all(jax.tree.leaves(pairs))


def test_where_all_members_diverge_training_gives_up():
    rates = jnp.asarray([1e30, 1e31])
    with pytest.raises(TrainingDiverged, match=r"the last \d updates were not finite"):
        train(lambda r: (VAE, optax.adam(r)), 2, values=rates, max_skipped=2)


# --- Resuming, callbacks, mistakes ---


def progress_of(result):
    """What a training that ended early came to."""
    values = [row["validation_loss"] for row in result.history]
    best = Best(result.model, result.best_epoch, min(values))
    return Progress(result.state, best, len(result.history), result.history)


@pytest.mark.slow
def test_resumed_members_are_those_that_were_never_stopped():
    calls = []
    options = {"epochs": 4, "callbacks": [lambda i, epoch: calls.append((i, epoch))]}
    whole = train(lambda value: (VAE, ADAM), 2, epochs=4)
    half = train(lambda value: (VAE, ADAM), 2, stop=lambda: len(calls) == 4, **options)
    assert [len(member.history) for member in half] == [2, 2]
    resume = [progress_of(member) for member in half]
    rest = train(lambda value: (VAE, ADAM), 2, resume=resume, **options)
    for a, b in zip(rest, whole, strict=True):
        assert_same(a, b, rtol=0)
    order = [(number, i) for number in range(1, 5) for i in (0, 1)]
    assert [(epoch.number, i) for i, epoch in calls] == order


def test_members_begin_with_a_model(three):
    start = three[0].model
    wider = recipes.vae((4,), 3, network=networks.FullyConnected((3,)))
    with pytest.warns(UserWarning, match="start: 5 of 8 arrays are the model's"):
        found = train(lambda value: (wider, ADAM), 2, start=start, **SHORT)
    with pytest.warns(UserWarning, match="start: 5 of 8 arrays are the model's"):
        expected = train_one(wider, seed=1, start=start, **SHORT)
    assert_same(found[1], expected)
    with pytest.raises(ArgumentError, match="start must be left out with resume"):
        train(build_vae, start=start, resume=[progress_of(each) for each in three])


def test_hooks_that_make_a_start_are_left_out_where_there_is_one():
    recipe = recipes.sparse_autoencoder((4,), 6, k=2)
    start = jaxae.init(recipe, jax.random.key(5))
    still = (recipe, optax.sgd(0.0))
    for member in train(lambda value: still, 2, start=start, **SHORT):
        for part in ("bottleneck", "decoder"):
            found, own = (m.variables["params"][part] for m in (member.model, start))
            jax.tree.map(np.testing.assert_array_equal, dict(found), dict(own))


@slow
def test_members_go_on_wherever_they_are():
    """Their states on all devices, or on one, and trained on those that divide them."""
    first = train(build_vae, 2, epochs=1)
    progress = [progress_of(member) for member in first]
    spread = [each._replace(state=place(each.state, make_mesh())) for each in progress]
    expected = train(build_vae, 2, resume=progress)
    devices = jax.devices()
    for start, mesh in ((spread, make_mesh(devices=devices[:6])), (progress, None)):
        found = train(build_vae, 2, resume=start, mesh=mesh)
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)


def build_vae(value):
    return VAE, ADAM


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": jax.random.key(0)}, r"keys must be an array \[S\] of typed keys"),
        ({"keys": seeds(4).reshape(2, 2)}, r"keys must be an array \[S\] of typed"),
        ({"keys": jnp.arange(3)}, r"keys must be an array \[S\] of typed keys"),
        ({"keys": seeds(3)[:0]}, r"keys must be .* S at least 1"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"accumulate": 0}, "accumulate must be a whole number"),
        ({"max_skipped": 0}, "max_skipped must be a whole number"),
        ({"monitor": "los"}, "monitor must be one of .*'loss'"),
        ({"values": jnp.ones(2)}, r"values must be .*3"),
        ({"values": {"a": jnp.ones(3), "b": 1.0}}, r"values must be .*3"),
        ({"resume": []}, "resume must be of 3 members, got 0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ArgumentError, match=message):
        train(build_vae, **options)


def test_a_stream_is_not_for_many():
    with pytest.raises(ArgumentError, match=r"data must be an array or .* type list"):
        fit_many(build_vae, [X, X], keys=seeds(2), **OPTIONS)


def test_members_go_on_from_the_same_epoch(three):
    resume = [progress_of(member) for member in three]
    resume[1] = resume[1]._replace(epoch=1)
    with pytest.raises(ArgumentError, match="resume must have all members"):
        train(build_vae, epochs=3, resume=resume)


def test_choices_cannot_follow_from_a_value():
    def build(value):
        return (VAE if value > 0.5 else NORMALISED), ADAM

    with pytest.raises(jax.errors.TracerBoolConversionError):
        train(build, values=jnp.asarray([0.0, 1.0, 1.0]))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (VAE, "build"),
        (lambda v: VAE, "build must be a function .* returned a Recipe$"),
    ],
)
def test_what_builds_no_member_is_named(build, message):
    with pytest.raises((ArgumentError, TypeCheckError), match=message):
        fit_many(build, X, keys=jax.random.split(jax.random.key(0), 2))
