"""What is saved comes back bit by bit, and what is broken is said to be."""

import gc
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxae import Epoch, fit, make_train_step, recipes
from jaxae.errors import CheckpointError
from jaxae.training.checkpoint import (
    restore_state,
    save_epochs,
    saved_epochs,
)

# When one of its reads fails, orbax drops the others, and their failures with them.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)

NETWORK = recipes.mlp((3,), batch_norm=True)
RECIPE = recipes.vae((4,), 2, network=NETWORK)
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
    gc.collect()


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
            key=jax.random.key(3),
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
        (recipes.vae((4,), 2, network=recipes.mlp((3, 3), batch_norm=True)), TX),
        (recipes.vae((4,), 2, network=recipes.mlp((3,))), TX),
        (RECIPE, optax.sgd(0.1)),
    ],
    ids=["latent_dim", "depth", "batch_norm", "optimizer"],
)
def test_another_architecture(saved, recipe, tx):
    directory, _ = saved
    with pytest.raises(CheckpointError, match="another architecture") as raised:
        restore_state(directory, recipe, tx)
    assert str(directory) in str(raised.value)


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
