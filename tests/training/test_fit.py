"""The loop: every form of data, the best epoch, callbacks, progress, giving up."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxae import (
    Objective,
    TrainingDiverged,
    fit,
    networks,
    recipes,
    reconstruct,
)
from jaxae.errors import ArgumentError
from jaxae.schedules import Cyclical
from jaxae.training import Progress, trained_model
from jaxae.training.loop import Best
from jaxae.training.monitor import metric_names

KEY = jax.random.key(0)
# One per process: what is compiled for the recipe alone is compiled once.
RECIPE = recipes.autoencoder((2, 2, 1), 2, network=networks.FullyConnected((3,)))


def floats(count=8, seed=0):
    values = np.random.default_rng(seed).uniform(size=(count, 2, 2, 1))
    return values.astype(np.float32)


def train(images, recipe=RECIPE, **options):
    options = {"key": KEY, "epochs": 1, "batch_size": 4, "progress": False} | options
    return fit(recipe, images, **options)


def leaves(model):
    return jax.tree.leaves(model.variables)


def assert_same(a, b):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def by_floats():
    levels = np.round(floats() * 255).astype(np.uint8)
    return levels, train(levels.astype(np.float32) / np.float32(255))


def test_bytes_are_the_floats_that_they_stand_for(by_floats):
    levels, expected = by_floats
    for a, b in zip(leaves(train(levels).model), leaves(expected.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_labels_are_carried_and_weights_count(by_floats):
    levels, expected = by_floats
    x = levels.astype(np.float32) / np.float32(255)
    ones = {"x": x, "label": np.arange(8), "weight": np.ones(8)}
    result = train(ones)
    for a, b in zip(leaves(result.model), leaves(expected.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    # The rejected half is of another kind; without it the loss is that of the rest.
    mixed = np.concatenate([x, 1 - x])
    weight = np.repeat([1.0, 0.0], 8)
    weighted = train({"x": mixed, "weight": weight}, batch_size=16)
    alone = train(x, batch_size=8)
    assert weighted.history[0]["loss"] == pytest.approx(alone.history[0]["loss"], 1e-5)


def test_weights_that_are_all_zero():
    with pytest.raises(ArgumentError, match=r"data\['weight'\] must be above 0 somewh"):
        train({"x": floats(), "weight": np.zeros(8)})


def test_bool_images():
    history = train(floats() > 0.5).history
    assert np.isfinite(history[0]["loss"])


def test_the_history_is_of_the_pass_alone(by_floats):
    row = by_floats[1].history[0]
    expected = "epoch loss distortion_nats penalty_nats grad_norm skipped_steps"
    assert set(row) == {*expected.split(), "seconds", "examples_per_second"}
    assert row["epoch"] == 1 and row["skipped_steps"] == 0
    assert row["examples_per_second"] == pytest.approx(8 / row["seconds"])


def test_the_result_depends_on_the_key_alone(by_floats):
    levels, expected = by_floats
    x = levels.astype(np.float32) / np.float32(255)
    assert_same(train(x).model, expected.model)
    other = train(x, key=jax.random.key(1))
    assert (leaves(other.model)[-1] != leaves(expected.model)[-1]).any()


UNUSUAL = {
    "few": (3, (2, 2, 1), networks.FullyConnected((3,))),
    "single": (1, (2, 2, 1), networks.FullyConnected((3,), batch_norm=True)),
    "1x1": (5, (1, 1, 1), networks.Convolutional((2,))),
    "7x5 RGB": (5, (7, 5, 3), networks.Convolutional((2,))),
    "vectors": (5, (6,), networks.FullyConnected((3,), gated=True)),
}


@pytest.mark.parametrize("case", UNUSUAL)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="any"),
        pytest.param(0.0, id="black", marks=pytest.mark.slow),
        pytest.param(0.5, id="grey", marks=pytest.mark.slow),
    ],
)
def test_unusual_data_train(case, value):
    count, shape, network = UNUSUAL[case]
    images = np.random.default_rng(0).uniform(size=(count, *shape))
    images = images if value is None else np.full_like(images, value)
    recipe = recipes.vae(shape, 2, network=network)
    result = train(images, recipe, epochs=2)
    row = result.history[-1]
    assert np.isfinite(list(row.values())).all() and row["skipped_steps"] == 0
    assert all(np.isfinite(leaf).all() for leaf in leaves(result.model))


class Loader:
    """Starts anew for every epoch, as a loader of batches does."""

    def __init__(self, *batches):
        self.batches, self.passes = batches, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.batches)


def test_batches_of_different_sizes_count_by_their_examples():
    x, tx = floats(6), optax.sgd(0.0)
    batches = Loader(x[:4], {"x": x[4:]})
    # A rate of zero: every loss is of the same parameters.
    result = train(batches, epochs=2, tx=tx)
    assert batches.passes == 2
    assert int(result.state.step) == 4
    whole = train(x, tx=tx, batch_size=6)
    losses = [row["loss"] for row in result.history]
    assert losses == pytest.approx([whole.history[0]["loss"]] * 2, rel=1e-6)


def test_a_list_of_batches_can_be_cut_into_epochs():
    batches = [floats(2, seed) for seed in range(3)]
    result = train(batches, steps_per_epoch=2, epochs=3)
    assert int(result.state.step) == 6


def test_an_endless_stream_needs_the_length_of_an_epoch():
    endless = (floats(2, seed) for seed in itertools.count())
    result = train(endless, steps_per_epoch=2, epochs=2)
    assert int(result.state.step) == 4
    # One batch was looked at first, and none is lost or read ahead.
    np.testing.assert_array_equal(next(endless), floats(2, 4))


def test_an_iterator_is_good_for_one_epoch():
    assert int(train(iter([floats(2), floats(2)])).state.step) == 2
    with pytest.raises(ArgumentError, match=r"data has no batch left: give .* anew"):
        train(iter([floats(2)]), epochs=2)


def test_a_function_that_does_not_ask_for_the_steps_done():
    def batches():
        yield floats(2)

    expected = r"data must be a function of .* `lambda done: batches\(\)`"
    with pytest.raises(ArgumentError, match=expected):
        train(batches, steps_per_epoch=1)


def test_a_loader_that_runs_dry_ends_in_an_error():
    class Dry(Loader):
        def __iter__(self):
            batches, self.batches = self.batches, ()
            return iter(batches)

    with pytest.raises(ArgumentError, match="data has no batch left"):
        train(Dry(floats(2)), steps_per_epoch=1, epochs=3)


def test_a_batch_is_checked_when_it_comes():
    with pytest.raises(ArgumentError, match=r"data must be of shape \[n, 2, 2, 1\]"):
        train([floats(2), floats(2)[..., 0]])


@cache
def rate_that_ruins(after):
    """Steps downhill, then steps uphill."""
    return optax.sgd(lambda step: jnp.where(step < after, 0.01, -0.05))


@pytest.fixture(scope="module")
def ruined():
    """A run whose second epoch is its best, with what its callbacks were given."""
    seen = []

    def copy(epoch):
        model = trained_model(RECIPE, epoch.state)
        seen.append((epoch, jax.tree.map(jnp.copy, model.variables)))

    order = []
    x = floats()
    result = train(
        x,
        epochs=4,
        tx=rate_that_ruins(4),
        validation=x,
        callbacks=[copy, lambda e: order.append(-e.number), lambda e: order.append(e)],
    )
    return result, seen, order, x


def test_the_best_epoch_is_kept(ruined):
    result, seen, _, x = ruined
    losses = [row["validation_loss"] for row in result.history]
    assert np.isfinite(losses).all()
    assert result.best_epoch == int(np.argmin(losses)) + 1 == 2
    assert [epoch.improved for epoch, _ in seen] == [True, True, False, False]
    expected = jax.tree.leaves(seen[1][1])
    for a, b in zip(leaves(result.model), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    # And it is the model that was judged: minus log N(x; reconstruction, 1), by hand.
    error = np.square(x - reconstruct(result.model, x)).sum(axis=(1, 2, 3)).mean()
    by_hand = 0.5 * error + 4 * 0.5 * np.log(2 * np.pi)
    assert losses[1] == pytest.approx(by_hand, rel=1e-5)


def test_callbacks_are_called_in_order_with_the_row(ruined):
    result, seen, order, _ = ruined
    assert [epoch.number for epoch, _ in seen] == [1, 2, 3, 4]
    assert [epoch.metrics for epoch, _ in seen] == result.history
    assert [n if isinstance(n, int) else n.number for n in order] == [
        *(-1, 1),
        *(-2, 2),
        *(-3, 3),
        *(-4, 4),
    ]


def test_the_state_is_donated(ruined):
    result, seen, _, _ = ruined
    earlier, last = seen[2][0].state, seen[3][0].state
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(earlier))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(last))
    assert last is result.state


def test_the_monitored_metric_decides():
    best = train(floats(), epochs=3, monitor="epoch").best_epoch
    assert best == 1


@pytest.mark.parametrize(
    ("monitor", "validation", "nearest"),
    [
        ("los", None, "'loss'"),
        ("validaton_loss", floats(), "'validation_loss'"),
        ("validation_distortion_nat", floats(), "'validation_distortion_nats'"),
        # Nothing is validated.
        ("validation_loss", None, ""),
    ],
)
def test_an_unknown_monitor_is_refused_before_the_first_epoch(
    monitor, validation, nearest
):
    taken = []

    def batches():
        for batch in itertools.repeat(floats()):
            taken.append(batch)
            yield batch

    message = f"monitor must be one of .*loss.*, got '{monitor}'.*{nearest}"
    with pytest.raises(ArgumentError, match=message):
        train(batches(), steps_per_epoch=9, monitor=monitor, validation=validation)
    assert len(taken) == 1  # the one that says what the examples look like


VAE = recipes.vae((4,), 2, network=networks.FullyConnected((3,)))
CRITIC = recipes.factor_vae((4,), 2, network=networks.FullyConnected((3,)), hidden=(3,))


@pytest.mark.parametrize("recipe", [VAE, CRITIC], ids=["vae", "factor_vae"])
def test_the_names_of_the_metrics_are_known_before(recipe):
    x = floats().reshape(8, 4)
    names = metric_names(recipe, optax.adam(1e-3), {"x": jnp.asarray(x[:2])}, True)
    monitor = "validation_distortion_nats"
    (row,) = train(x, recipe, validation=x, monitor=monitor).history
    assert names == sorted(row)


class Poisoned(Objective):
    """Every loss from step `after` on is NaN."""

    objective: Objective
    after: int

    def init(self, key, trace):
        return self.objective.init(key, trace)

    def loss(self, params, trace, context):
        value, metrics = self.objective.loss(params, trace, context)
        return value + jnp.where(context.step >= self.after, jnp.nan, 0.0), metrics


def poisoned(after):
    return RECIPE.replace(objective=Poisoned(RECIPE.objective, after))


def test_training_gives_up_after_updates_that_are_not_finite():
    rows = []
    with pytest.raises(TrainingDiverged, match=r"last 4 updates .* at step 6"):
        train(
            floats(),
            poisoned(2),
            epochs=9,
            max_skipped=3,
            callbacks=[lambda epoch: rows.append(epoch.metrics)],
        )
    # Two in a row are allowed, and they are counted at the end of a pass of two steps.
    assert [row["skipped_steps"] for row in rows] == [0, 2]
    assert np.isnan(rows[1]["loss"])


def test_no_finite_epoch_is_an_error():
    with pytest.raises(TrainingDiverged, match="no epoch had a finite loss"):
        train(floats(), poisoned(0))


def test_an_interrupt_in_a_callback_gets_out():
    done = []

    def interrupt(epoch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(floats(), epochs=3, callbacks=[done.append, interrupt])
    assert [epoch.number for epoch in done] == [1]
    kernels = jax.tree.leaves(done[0].state.params)
    assert all(np.isfinite(kernel).all() for kernel in kernels)


def test_progress_without_a_terminal_is_a_line_per_epoch(capsys):
    train(floats(), epochs=2, validation=floats(), progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines, 1):
        assert line.startswith(f"epoch {number}/2  loss ")
        assert "validation " in line and "examples/s " in line


def test_progress_on_a_terminal_is_a_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    result = train(floats(), epochs=2, progress=True)
    shown = capsys.readouterr().out
    assert "\x1b[" in shown and "2/2" in shown
    assert f"loss {result.history[1]['loss']:.4f}" in shown


def test_no_progress_is_silent(capsys):
    train(floats(), progress=False)
    assert capsys.readouterr() == ("", "")


def test_validation_has_the_schedules_of_the_last_step():
    """Else the best epoch of a warm-up would be the first, where the rate is free."""
    beta = optax.linear_schedule(0.0, 1.0, 10)  # steps 0 and 1
    recipe = recipes.vae((2, 2, 1), 2, network=networks.FullyConnected((3,)), beta=beta)
    x = floats()
    for row in train(x, recipe, epochs=2, batch_size=8, validation=x).history:
        expected = row["validation_distortion_nats"] + 0.1 * row["validation_rate_nats"]
        assert row["validation_loss"] == pytest.approx(expected, rel=1e-5)


def test_a_cycle_that_ends_with_the_training_is_not_over():
    recipe = recipes.vae(
        (2, 2, 1), 2, network=networks.FullyConnected((3,)), beta=Cyclical(2)
    )
    x = floats()
    row = train(x, recipe, epochs=2, batch_size=8, validation=x).history[-1]
    assert row["validation_rate_nats"] > 1e-4
    expected = row["validation_distortion_nats"] + row["validation_rate_nats"]
    assert row["validation_loss"] == pytest.approx(expected, rel=1e-6)


NOISY = recipes.vae(
    (2, 2, 1), 2, network=networks.FullyConnected((3,), batch_norm=True)
)


def batches_from(step):
    """A batch for every step; those before `step` were seen."""
    return (floats(4, seed) for seed in itertools.count(step))


def stop_after(epochs):
    """A callback and a `stop` for it."""
    done = []
    return {"callbacks": [done.append], "stop": lambda: len(done) == epochs}


def progress_of(result):
    """What a training that ended early came to."""
    values = [row["validation_loss"] for row in result.history]
    best = Best(result.model, result.best_epoch, min(values))
    return Progress(result.state, best, len(result.history), result.history)


@pytest.mark.parametrize(
    ("images", "options"),
    [
        pytest.param(floats(10), {}, id="array"),
        pytest.param(batches_from, {"steps_per_epoch": 3}, id="stream"),
    ],
)
@pytest.mark.parametrize(
    "after", [pytest.param(1, marks=pytest.mark.slow), 2, 3], ids="after {}".format
)
def test_a_resumed_training_is_one_that_was_never_stopped(images, options, after):
    """To the last bit; the best epoch is the second, before or after the stop."""
    options = options | {
        "key": jax.random.key(2),
        "tx": rate_that_ruins(6),
        "validation": floats(5, 99),
        "epochs": 4,
    }
    whole = train(images, NOISY, **options)
    assert whole.best_epoch == 2
    half = train(images, NOISY, **options, **stop_after(after))
    assert len(half.history) == after and int(half.state.step) == 3 * after
    resume = progress_of(half)
    rest = train(images, NOISY, **options, resume=resume)
    assert_same(rest.model, whole.model)
    states = (jax.tree.leaves(each.state._replace(key=0)) for each in (rest, whole))
    for a, b in zip(*states, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (rest.state.key == whole.state.key).all()
    assert rest.best_epoch == whole.best_epoch
    timing = {"seconds", "examples_per_second"}
    assert untimed(rest.history, timing) == untimed(whole.history, timing)
    # What was done before is as it was, the time too.
    assert rest.history[:after] == half.history == list(resume.history)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(resume.state))


def untimed(history, timing):
    return [{k: v for k, v in row.items() if k not in timing} for row in history]


def test_the_moments_of_the_optimizer_go_on_too():
    options = {"tx": optax.adam(1e-2), "epochs": 2, "validation": floats(5, 99)}
    whole = train(floats(), **options)
    half = train(floats(), **options, stop=lambda: True)
    rest = train(floats(), **options, resume=progress_of(half))
    moments = (jax.tree.leaves(each.state.opt_state) for each in (rest, whole))
    for a, b in zip(*moments, strict=True):
        np.testing.assert_array_equal(a, b)
    assert_same(rest.model, whole.model)


def test_a_training_stops_after_the_epoch():
    asked = []

    def stop():
        asked.append(True)
        return len(asked) == 2

    x = floats()
    assert len(train(x, epochs=5, stop=stop).history) == 2
    # It is not asked after the last epoch.
    assert len(train(x, epochs=2, stop=stop).history) == 2
    assert len(asked) == 3


def test_a_training_that_is_done_is_given_back():
    x = floats()
    done = train(x, epochs=2, validation=x)
    again = train(x, epochs=2, validation=x, resume=progress_of(done))
    assert again.history == done.history and again.best_epoch == done.best_epoch
    assert_same(again.model, done.model)
