"""What is saved comes back bit by bit, and what is broken is said to be."""

import gc
import json
import logging
import pickle
import shutil
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxae import Epoch, compute_in, fit, make_train_step, networks, recipes
from jaxae.corruptions import Compose, Masking
from jaxae.errors import ArgumentError, CheckpointError
from jaxae.likelihoods import ContinuousBernoulli
from jaxae.objectives import Reconstruction
from jaxae.preparation import unit_interval
from jaxae.schedules import Linear
from jaxae.training import Parallel, init_state, parallel
from jaxae.training.checkpoint import (
    discard_after,
    restore_progress,
    restore_state,
    save_epochs,
    saved_epochs,
)
from jaxae.training.parallel import fsdp, make_mesh, replicated, shardings
from jaxae.training.placement import place

# When one of its reads fails, orbax drops the others, and their failures with them.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)

NETWORK = networks.FullyConnected((3,), batch_norm=True)
RECIPE = recipes.vae((4,), 2, network=NETWORK)
PLAIN = recipes.autoencoder((4,), 2, network=networks.FullyConnected((3,)))
# Epochs have two steps: the second epoch is the best, the later ones are ruined.
TX = optax.chain(
    optax.scale_by_adam(),
    optax.scale_by_schedule(lambda step: jnp.where(step < 4, -0.01, 1.0)),
)
X = (np.random.default_rng(0).uniform(size=(8, 4)) > 0.8).astype(np.float32)


@pytest.fixture(autouse=True)
def collect_garbage():
    """So that dropped failures do not turn up in the test of something else."""
    yield
    gc.collect(1)  # what is new


def leaves(state):
    """All arrays of a state with their names, the key as its data."""
    state = state._replace(key=jax.random.key_data(state.key))
    flat, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path): np.array(leaf) for path, leaf in flat}


def assert_identical(state, expected):
    found = leaves(state)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The directory, and a copy of the state of every epoch."""
    directory = tmp_path_factory.mktemp("run") / "checkpoints"
    states = {}
    with save_epochs(directory, "validation_loss") as save:
        result = fit(
            RECIPE,
            X,
            key=jax.random.key(0),
            epochs=4,
            batch_size=4,
            tx=TX,
            validation=X,
            callbacks=[save, lambda e: states.update({e.number: leaves(e.state)})],
            progress=False,
        )
    assert result.best_epoch == 2
    return directory, states


def test_the_best_two_and_the_last_two_stay(tmp_path, saved):
    state, _ = restore_state(saved[0], RECIPE, TX)
    with save_epochs(tmp_path, "loss") as save:
        for number, loss in enumerate([4.0, 3.0, 2.0, 5.0, 5.0, 5.0], 1):
            save(Epoch(number, state, {"loss": loss}, loss < 5))
    assert saved_epochs(tmp_path) == [2, 3, 5, 6]


@pytest.mark.parametrize(("which", "number"), [("best", 2), ("last", 4)])
def test_a_state_comes_back_bit_by_bit(saved, which, number):
    directory, states = saved
    state, epoch = restore_state(directory, RECIPE, TX, which)
    assert epoch == number
    assert_identical(state, states[number])


def test_reading_says_nothing_of_orbax(saved):
    logger, records, handler = logging.getLogger("absl"), [], logging.Handler()
    handler.emit = records.append
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    try:
        restore_progress(saved[0], RECIPE, TX, Parallel(make_mesh(), replicated))
        assert not records
        assert logger.level == logging.WARNING
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_training_goes_on_from_the_last_state(saved):
    directory, _ = saved
    state, _ = restore_state(directory, RECIPE, TX, "last")
    state, metrics = jax.jit(make_train_step(RECIPE, TX))(state, {"x": jnp.asarray(X)})
    assert int(state.step) == 9
    assert np.isfinite(metrics["loss"])


@pytest.mark.parametrize(
    ("recipe", "tx"),
    [
        (recipes.vae((4,), 3, network=NETWORK), TX),
        (
            recipes.vae(
                (4,), 2, network=networks.FullyConnected((3, 3), batch_norm=True)
            ),
            TX,
        ),
        (recipes.vae((4,), 2, network=networks.FullyConnected((3,))), TX),
        (RECIPE, optax.sgd(0.1)),
    ],
    ids=["latent_dim", "depth", "batch_norm", "optimizer"],
)
def test_another_architecture(saved, recipe, tx):
    directory, _ = saved
    kind = "architecture or optimizer" if tx is not TX else "recipe"
    with pytest.raises(CheckpointError, match=f"another {kind}") as raised:
        restore_state(directory, recipe, tx)
    assert str(directory) in str(raised.value)


MODULE, OBJECTIVE = RECIPE.module, RECIPE.objective
OTHERS = {
    "likelihood": (
        RECIPE.replace(module=MODULE.clone(likelihood=ContinuousBernoulli())),
        r"recipe\.module\.likelihood is jaxae\.likelihoods\.Bernoulli, asked for was "
        r"jaxae\.likelihoods\.ContinuousBernoulli",
    ),
    "activation": (
        RECIPE.replace(
            module=MODULE.clone(encoder=MODULE.encoder.clone(activation="elu"))
        ),
        r"recipe\.module\.encoder\.activation is 'relu', asked for was 'elu'",
    ),
    "preparation": (
        RECIPE.replace(prepare=unit_interval),
        r"recipe\.prepare is jaxae\.preparation\.binarize, asked for was jaxae\.prep",
    ),
    "objective": (
        RECIPE.replace(objective=OBJECTIVE.replace(beta=Linear(0.0, 1.0, 5))),
        r"recipe\.objective\.beta is 1\.0, asked for was jaxae\.schedules\.Linear",
    ),
    "samples": (
        RECIPE.replace(num_samples=2),
        r"recipe\.num_samples is 1, asked for was 2",
    ),
    "hooks": (
        RECIPE.replace(hooks=(lambda state, seen, key: state,)),
        r"recipe\.hooks is \[\], asked for was \[",
    ),
}
OF_THE_MODEL = ("likelihood", "activation", "preparation")


@pytest.mark.parametrize("kind", OTHERS)
def test_another_recipe_of_the_same_arrays(kind, saved):
    """Arrays that fit may still mean something else."""
    recipe, message = OTHERS[kind]
    message = f"/4: the checkpoint is of another recipe than asked for: {message}"
    with pytest.raises(CheckpointError, match=message):
        restore_progress(saved[0], recipe, TX, on(1))
    if kind in OF_THE_MODEL:
        with pytest.raises(CheckpointError, match=message.replace("/4", "/2")):
            restore_state(saved[0], recipe, TX)
    else:
        state, _ = restore_state(saved[0], recipe, TX)
        assert_identical(state, saved[1][2])


def test_what_is_called_otherwise_or_computed_otherwise_fits(saved):
    named = RECIPE.replace(title="of mine", monitor="elbo_nats")
    for recipe in (named, compute_in(RECIPE, "bfloat16")):
        progress = restore_progress(saved[0], recipe, TX, on(1))
        assert_identical(progress.state, saved[1][4])
        assert progress.best.model.recipe == recipe


def test_numbers_are_compared_as_the_program_has_them(tmp_path):
    """Of members that differ in a number, which was float32 there."""

    def scaled(beta):
        return PLAIN.replace(objective=Reconstruction(penalty_weight=beta))

    rounded, state = float(np.float32(0.1)), state_of(PLAIN, 0)
    assert rounded != 0.1
    with save_epochs(tmp_path, "loss") as save:
        save(Epoch(1, state, {"loss": 1.0}, True, scaled(rounded)))
    assert restore_progress(tmp_path, scaled(0.1), TX, on(1)).epoch == 1
    with pytest.raises(CheckpointError, match=r"penalty_weight is 0\.1.* was 0\.10001"):
        restore_progress(tmp_path, scaled(0.10001), TX, on(1))


def test_what_has_no_name_is_not_compared(tmp_path):
    """A lambda is another one in every process; the rest is compared all the same."""

    def own(rate):
        damage = Compose((lambda key, x: (x, None), Masking(rate)))
        return PLAIN.replace(corruption=damage)

    with save_epochs(tmp_path, "loss") as save:
        save(Epoch(1, state_of(PLAIN, 0), {"loss": 1.0}, True, own(0.5)))
    assert restore_progress(tmp_path, own(0.5), TX, on(1)).epoch == 1
    message = r"corruption\.corruptions\[1\]\.rate is 0\.5, asked for was 0\.25"
    with pytest.raises(CheckpointError, match=message):
        restore_progress(tmp_path, own(0.25), TX, on(1))
    record = (tmp_path / "1" / "_CHECKPOINT_METADATA").read_text()
    assert "Masking" in record and "0x" not in record


SGD = optax.sgd(0.1)
PAIRS = {
    "more empty containers": (optax.adam(0.1), optax.adamw(0.1)),
    "fewer empty containers": (optax.adamw(0.1), optax.adam(0.1)),
    "a container in a container": (SGD, optax.chain(optax.clip(1.0), SGD)),
    "more arrays": (SGD, optax.sgd(0.1, momentum=0.9)),
}


def contents(directory):
    return {
        path.relative_to(directory): path.read_bytes() for path in files_of(directory)
    }


@pytest.mark.parametrize("pair", PAIRS)
def test_another_optimizer_is_told_from_damage_and_nothing_is_touched(pair, tmp_path):
    right, wrong = PAIRS[pair]
    directory = tmp_path / "checkpoints"
    state = init_state(PLAIN, right, {"x": jnp.zeros((2, 4))}, jax.random.key(0))
    with save_epochs(directory, "loss") as save:
        for number in (1, 2):
            save(Epoch(number, state, {"loss": 1.0 / number}, True))
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match="another architecture or optimizer"):
        restore_progress(directory, PLAIN, wrong, on(1))
    with pytest.raises(CheckpointError, match="another architecture or optimizer"):
        restore_state(directory, PLAIN, wrong)
    assert contents(tmp_path) == before
    progress = restore_progress(directory, PLAIN, right, on(1))
    assert progress.epoch == progress.best.epoch == 2 and not progress.damaged
    assert_identical(progress.state, leaves(state))


def test_a_missing_directory(tmp_path):
    with pytest.raises(CheckpointError, match="no such directory") as raised:
        restore_state(tmp_path / "none", RECIPE, TX)
    assert str(tmp_path / "none") in str(raised.value)
    assert not (tmp_path / "none").exists()


def test_an_empty_directory(tmp_path):
    with pytest.raises(CheckpointError, match="no finished epoch") as raised:
        restore_state(tmp_path, RECIPE, TX)
    assert str(tmp_path) in str(raised.value)


def files_of(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("damage", ["half", "empty", "missing"])
@pytest.mark.parametrize("part", ["data", "metadata"])
def test_a_damaged_checkpoint(saved, tmp_path, part, damage):
    """Every file of the kind that matters to reading the state, cut short."""
    copy = tmp_path / "copy"
    shutil.copytree(saved[0], copy)
    files = [file for file in files_of(copy / "2" / "default") if file.stat().st_size]
    hit = [file for file in files if ("METADATA" in file.name) == (part == "metadata")]
    assert hit
    for file in hit:
        whole = file.read_bytes()
        if damage == "missing":
            file.unlink()
        else:
            file.write_bytes(whole[: len(whole) // 2 if damage == "half" else 0])
    with pytest.raises(CheckpointError) as raised:
        restore_state(copy, RECIPE, TX)
    assert str(copy) in str(raised.value)


def test_a_place_that_cannot_be_written_to(tmp_path):
    # A file in the way: permissions would not stop an administrator.
    (tmp_path / "file").write_text("in the way")
    for directory in (tmp_path / "file", tmp_path / "file" / "checkpoints"):
        with pytest.raises(OSError), save_epochs(directory, "loss"):
            pass


def test_a_metric_that_is_not_finite_is_never_the_best(tmp_path, saved):
    _, states = saved
    state, _ = restore_state(saved[0], RECIPE, TX)
    with save_epochs(tmp_path, "loss") as save:
        for number, loss in enumerate([float("nan"), 2.0, float("-inf"), 3.0], 1):
            save(Epoch(number, state, {"loss": loss}, number in (2, 3)))
    state, epoch = restore_state(tmp_path, RECIPE, TX)
    assert epoch == 2
    assert_identical(state, states[2])


def on(count, layout=replicated):
    return Parallel(make_mesh(devices=jax.devices()[:count]), layout)


@pytest.fixture
def all_divided(monkeypatch):
    """Tiny arrays too, where their sizes allow it."""
    monkeypatch.setattr(parallel, "LEAST_SHARDED", 1)


WIDE = recipes.vae((16,), 4, network=networks.FullyConnected((8,), batch_norm=True))


@cache
def initial(recipe):
    return jax.jit(partial(init_state, recipe, TX))


def state_of(recipe, seed):
    batch = {"x": jnp.zeros((2, *recipe.module.shape))}
    return initial(recipe)(batch, jax.random.key(seed))


@pytest.mark.slow
@pytest.mark.parametrize("layout", [replicated, fsdp])
def test_progress_on_other_devices(layout, all_divided, tmp_path):
    """From eight devices to one, two and four and back: the same arrays, each where
    it was asked for."""
    states = {epoch: state_of(WIDE, epoch) for epoch in (1, 2, 3)}
    directory, source = tmp_path / "8", on(8, layout)
    with save_epochs(directory, "loss") as save:
        for epoch, state in states.items():
            loss = {1: 2.0, 2: 1.0, 3: 4.0}[epoch]
            save(Epoch(epoch, place(state, *source[:2]), {"loss": loss}, loss < 3))
    for count, target in ((1, replicated), (2, fsdp), (4, fsdp), (2, replicated)):
        there = on(count, target)
        progress = restore_progress(directory, WIDE, TX, there)
        epoch = progress.epoch
        assert epoch == 3 and (progress.best.epoch, progress.best.value) == (2, 1.0)
        assert_identical(progress.state, leaves(states[3]))
        assert_where(progress.state, there)
        best = progress.best.model.variables["params"]
        assert_equal(best, states[2].params["model"])
        again = tmp_path / f"{count} {target.__name__}"
        with save_epochs(again, "loss") as save:
            save(Epoch(3, progress.state, {"loss": 0.5}, True))
        back = restore_progress(again, WIDE, TX, source)
        assert_identical(back.state, leaves(states[3]))
        assert_where(back.state, source)


def assert_where(state, there):
    """Every array is divided as the layout says; with `fsdp` some are."""
    asked = shardings(state, *there[:2])
    for leaf, sharding in zip(
        jax.tree.leaves(state), jax.tree.leaves(asked), strict=True
    ):
        assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
        assert leaf.sharding.device_set == sharding.device_set
    whole = all(leaf.is_fully_replicated for leaf in jax.tree.leaves(state))
    assert whole == (there.layout is replicated)


def assert_equal(tree, expected):
    jax.tree.map(np.testing.assert_array_equal, tree, expected)


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """Epochs on disk, of which 1, 2 and 4 were the best when they were saved."""
    directory = tmp_path_factory.mktemp("five")
    states = {epoch: state_of(RECIPE, epoch) for epoch in range(1, 6)}
    with save_epochs(directory, "loss") as save:
        for number, loss in enumerate([9.0, 3.0, 5.0, 2.0, 6.0], 1):
            save(Epoch(number, states[number], {"loss": loss}, number in (1, 2, 4)))
    assert saved_epochs(directory) == [2, 4, 5]
    return directory, states


@pytest.fixture
def epochs(five, tmp_path):
    """A copy that a test may damage."""
    directory, states = five
    shutil.copytree(directory, tmp_path / "checkpoints")
    return tmp_path / "checkpoints", states


def cut(*files):
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_progress_up_to_an_epoch(epochs):
    directory, states = epochs
    found = ((None, 5, 4, 2.0), (4, 4, 4, 2.0), (3, 2, 2, 3.0))
    for asked, number, best, value in found:
        progress = restore_progress(directory, RECIPE, TX, on(1), asked)
        epoch = progress.epoch
        assert (epoch, progress.best.epoch, progress.best.value) == (
            number,
            best,
            value,
        )
        assert_identical(progress.state, leaves(states[number]))
    with pytest.raises(CheckpointError, match="no finished epoch"):
        restore_progress(directory, RECIPE, TX, on(1), 1)
    discard_after(directory, 4)
    assert saved_epochs(directory) == [2, 4]


@pytest.mark.parametrize("part", ["default", "metrics"])
def test_the_newest_is_damaged(part, epochs):
    """The one before it is taken, with the best of then; it is put aside only when
    training goes on."""
    directory, states = epochs
    cut(*files_of(directory / "5" / part))
    before = contents(directory.parent)
    with pytest.warns(UserWarning, match="5: the checkpoint is damaged") as warned:
        progress = restore_progress(directory, RECIPE, TX, on(1))
        epoch = progress.epoch
    assert len(warned) == 1
    assert (epoch, progress.best.epoch, progress.best.value) == (4, 4, 2.0)
    assert_identical(progress.state, leaves(states[4]))
    assert progress.damaged == [5]
    discard_after(directory, 4, progress.damaged)
    assert contents(directory.parent) == before
    # Nothing stands in the way of training that epoch again.
    aside = directory.with_name("checkpoints-damaged")
    with pytest.warns(UserWarning, match=f"put aside, into {aside}") as warned:
        with save_epochs(directory, "loss") as save:
            save(Epoch(5, states[5], {"loss": 6.0}, False))
    assert len(warned) == 1
    assert saved_epochs(directory) == [2, 4, 5]
    assert saved_epochs(aside) == [5]
    state, epoch = restore_state(directory, RECIPE, TX, "last")
    assert epoch == 5
    assert_identical(state, leaves(states[5]))


def test_two_damaged_ones_are_put_aside_together(epochs):
    directory, states = epochs
    cut(*files_of(directory / "4" / "default"), *files_of(directory / "5" / "default"))
    with pytest.warns(UserWarning, match="the one before it is taken"):
        progress = restore_progress(directory, RECIPE, TX, on(1))
    assert progress.epoch == 2 and progress.damaged == [4, 5]
    with pytest.warns(UserWarning, match="put aside"):
        with save_epochs(directory, "loss") as save:
            save(Epoch(3, states[3], {"loss": 5.0}, False))
    assert saved_epochs(directory) == [2, 3]


@pytest.mark.parametrize("part", ["default", "metrics"])
def test_the_best_is_damaged(part, epochs):
    """The second best is taken for it."""
    directory, states = epochs
    cut(*files_of(directory / "4" / part))
    with pytest.warns(UserWarning, match="4: the checkpoint is damaged"):
        progress = restore_progress(directory, RECIPE, TX, on(1))
        epoch = progress.epoch
    assert (epoch, progress.best.epoch, progress.best.value) == (5, 2, 3.0)
    assert_identical(progress.state, leaves(states[5]))


@pytest.mark.filterwarnings("ignore:.*the checkpoint is damaged")
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"monitored": "low"}'])
def test_damaged_values_are_said_to_be(content, epochs):
    directory, _ = epochs
    files = [directory / str(epoch) / "metrics" / "metrics" for epoch in (2, 4, 5)]
    assert json.loads(files[1].read_text()) == {"monitored": 2.0}
    for file in files:
        file.write_text(content)
    with pytest.raises(CheckpointError, match="the checkpoint is damaged"):
        restore_state(directory, RECIPE, TX)
    with pytest.raises(CheckpointError, match="no finished epoch"):
        restore_progress(directory, RECIPE, TX, on(1))
    assert saved_epochs(directory) == [2, 4, 5]


def test_more_are_kept_where_several_go_on_together(saved, tmp_path):
    """Of the trainings of one program some may be two epochs further on disk."""
    state, _ = restore_state(saved[0], RECIPE, TX)
    with save_epochs(tmp_path, "loss", keep=3) as save:
        for number, loss in enumerate([9.0, 3.0, 5.0, 2.0, 1.0], 1):
            save(Epoch(number, state, {"loss": loss}, number != 3))
    assert saved_epochs(tmp_path) == [2, 3, 4, 5]
    progress = restore_progress(tmp_path, RECIPE, TX, on(1), 3)
    assert progress.best.epoch == 2


def test_nothing_is_unpickled(saved, monkeypatch):
    """A checkpoint from elsewhere must not run code of its own."""

    def refuse(*_, **__):
        raise AssertionError("a checkpoint is read by pickle")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    state, epoch = restore_state(saved[0], RECIPE, TX)
    assert epoch == 2
    assert_identical(state, saved[1][2])
    assert restore_progress(saved[0], RECIPE, TX, on(2)).epoch == 4


def test_a_library_goes_on_without_the_history(tmp_path):
    """Epochs are counted by what the checkpoint says, not by the rows that are kept."""
    options = {"key": jax.random.key(3), "batch_size": 4, "tx": TX, "progress": False}
    with save_epochs(tmp_path, "loss") as save:
        fit(RECIPE, X, epochs=2, callbacks=[save], **options)
    progress = restore_progress(tmp_path, RECIPE, TX, on(1))
    with save_epochs(tmp_path, "loss") as save:
        rest = fit(RECIPE, X, epochs=3, resume=progress, callbacks=[save], **options)
    assert [row["epoch"] for row in rest.history] == [3]
    whole = fit(RECIPE, X, epochs=3, **options)
    assert_identical(rest.state, leaves(whole.state))
    assert saved_epochs(tmp_path)[-1] == 3


def test_a_directory_may_be_a_string(saved, tmp_path):
    state, _ = restore_state(str(saved[0]), RECIPE, TX)
    directory = f"{tmp_path}/run"
    with save_epochs(directory, "loss") as save:
        for number in (1, 2):
            save(Epoch(number, state, {"loss": 1.0}, number == 1))
    assert saved_epochs(directory) == [1, 2]
    assert restore_progress(directory, RECIPE, TX, on(1)).epoch == 2
    discard_after(directory, 1)
    assert saved_epochs(tmp_path / "run") == [1]


def test_an_unknown_monitor_is_named(saved, tmp_path):
    state, _ = restore_state(saved[0], RECIPE, TX)
    with (
        pytest.raises(ArgumentError, match="monitor must be one of epoch, loss, got"),
        save_epochs(tmp_path, "los") as save,
    ):
        save(Epoch(1, state, {"epoch": 1, "loss": 1.0}, True))


def test_a_metric_that_is_not_there_is_said_before_the_first_epoch(tmp_path):
    options = {"key": jax.random.key(0), "epochs": 1, "progress": False}
    named = "monitor must be one of .*got 'los'; did you mean 'loss'"
    with save_epochs(tmp_path, "los") as save:
        with pytest.raises(ArgumentError, match=named):
            fit(RECIPE, X, callbacks=[save], **options)
    with pytest.raises(ArgumentError, match=r"^save_epochs must be entered: with sav"):
        fit(RECIPE, X, callbacks=[save_epochs(tmp_path, "loss")], **options)


def test_an_epoch_is_not_silently_left_unsaved(saved):
    directory, _ = saved
    state, _ = restore_state(directory, RECIPE, TX)
    with (
        pytest.raises(CheckpointError, match="has a later checkpoint than epoch 1"),
        save_epochs(directory, "loss") as save,
    ):
        save(Epoch(1, state, {"loss": 1.0}, True))
