"""Published protocols: that they run, go on, say what was shortened, and are shown."""

import bz2
import io
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxae
from jaxae import networks, priors, recipes
from jaxae.training import trained_model
from jaxae.training.checkpoint import restore_state
from train.errors import RunError
from train.reproduce import __main__ as program
from train.reproduce import coding, hvae, parts, results
from train.reproduce.protocol import Job, Parts, Training
from train.reproduce.rows import ROWS, Row, adam

X = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1), np.uint8)


def few(seed):
    del seed
    return Parts({"x": X[:8]}, {"x": X[8:]}, {"x": X[4:8]})


def small(steps, epochs):
    del steps, epochs
    network = networks.FullyConnected((3,))
    return recipes.autoencoder((4, 4, 1), 2, network=network)


def constant(rate):
    """Adam, as one object, so that trainings share what is compiled for them."""
    made = adam(rate)
    tx = made["tx"](0, 0)
    return made | {"tx": lambda steps, epochs: tx}


TINY = Training(
    data=few,
    recipe=small,
    measure=parts.squared_error,
    epochs=4,
    batch_size=4,
    **constant(0.01),
)
STILL = constant(0.0)


def test_an_interrupted_protocol_goes_on_to_the_same_number(tmp_path, monkeypatch):
    whole = TINY.run(Job(tmp_path / "whole", 1))
    assert whole.shortened is None
    made = np.asarray(jaxae.reconstruct(best_model(tmp_path / "whole"), X[8:]))
    error = np.square(made - X[8:] / 255.0).sum(axis=(1, 2, 3)).mean()
    np.testing.assert_allclose(whole.value, error, rtol=1e-5)
    fit = jaxae.fit

    def interrupted(*arguments, **options):
        fit(*arguments, **options, stop=lambda: True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jaxae, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            TINY.run(Job(tmp_path / "parts", 1))
    metrics = tmp_path / "parts" / "metrics.jsonl"
    assert len(metrics.read_text().splitlines()) == 1
    so_far = Job(tmp_path / "parts", 1, so_far=True)
    early = TINY.run(so_far)
    assert early.shortened == "1 of 4 epochs" and early.value > whole.value
    with pytest.raises(RunError, match="has no finished epoch to be measured so far"):
        TINY.run(so_far._replace(folder=tmp_path / "none"))
    assert TINY.run(Job(tmp_path / "parts", 1)).value == whole.value
    assert len(metrics.read_text().splitlines()) == 4
    with pytest.raises(RunError, match="has another seed: 1, now 2"):
        TINY.run(Job(tmp_path / "parts", 2))


def best_model(folder, protocol=TINY):
    """From the checkpoints that were left."""
    recipe, tx = protocol.recipe(2, 4), protocol.tx(2, 4)
    state, _ = restore_state(folder / "checkpoints", recipe, tx)
    return trained_model(recipe, state)


def test_a_protocol_may_go_on_with_another(tmp_path):
    """With its model to begin with, which an epoch without a step size keeps."""
    still = replace(TINY, epochs=1, after=TINY, **STILL)
    outcome = still.run(Job(tmp_path, 1))
    assert outcome.configuration["before"]["epochs"] == 4
    assert outcome.value == TINY.run(Job(tmp_path / "before", 1)).value
    # Of what is done to its end nothing is missing so far.
    so_far = still.run(Job(tmp_path, 1, so_far=True))
    assert (so_far.value, so_far.shortened) == (outcome.value, None)
    longer = replace(still, epochs=2)
    shortened = longer.run(Job(tmp_path / "half", 1, share=0.5)).shortened
    assert shortened == "1 of 2 epochs after 2 of 4"


def test_a_training_that_patience_ended_is_whole(tmp_path):
    patient = replace(TINY, patience=1, epochs=9, **STILL)
    whole = patient.run(Job(tmp_path, 1))
    assert whole.shortened is None
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    so_far = patient.run(Job(tmp_path, 1, so_far=True))
    assert (so_far.value, so_far.shortened) == (whole.value, None)


def test_a_whole_result_is_not_lost_for_a_shortened_one(tmp_path, monkeypatch):
    """Of two seeds one of which was cut off."""
    row = Row("a tiny one", TINY, 1.0, 0.1, "squares", "https://a.org", 8)
    monkeypatch.setitem(ROWS, "tiny", row)
    program.reproduce(program.Arguments(row="tiny", out=tmp_path))
    file = tmp_path / "reproduction.json"
    kept = file.read_text()
    cut, fit = Job(tmp_path / "seed-1", 1, row="tiny"), jaxae.fit
    with monkeypatch.context() as patch:
        stop = {"stop": lambda: True}
        patch.setattr(
            jaxae, "fit", lambda *args, **kwargs: fit(*args, **kwargs, **stop)
        )
        TINY.run(cut)
    with pytest.raises(
        RunError, match=r"what came out now of all, 1 of 4 epochs; give"
    ):
        program.reproduce(program.Arguments("tiny", so_far=True, seeds=2, out=tmp_path))
    assert file.read_text() == kept


def test_files_beside_what_the_model_promises(tmp_path, monkeypatch, capsys):
    network = networks.FullyConnected((4,))
    protocol = replace(
        TINY,
        data=lambda seed: Parts({"x": X}, {"x": X}),
        recipe=lambda *_: recipes.vae(
            (4, 4, 1), 2, network=network, likelihood="beta_binomial"
        ),
        measure=coding.file_size,
        beside=coding.sizes_beside,
    )
    row = Row("files", protocol, 8.12, 0.1, "bits a pixel", "https://a.org", 8)
    monkeypatch.setitem(ROWS, "tiny", row)
    program.reproduce(program.Arguments(row="tiny", out=tmp_path / "run"))
    result = json.loads((tmp_path / "run" / "reproduction.json").read_text())
    model = best_model(tmp_path / "run" / "seed-0", protocol)
    data = jaxae.compression.compress(model, X)
    assert result["value"] == 8 * len(data) / X.size
    bound = jaxae.evaluation.nll_nats(model, X, jax.random.key(0)).mean() / np.log(2)
    # Of a model that has learned nothing: hardly more than one code's -log p(x).
    assert result["beside"]["-ELBO"] == pytest.approx(bound / 16, rel=0.02)
    size = 8 * len(bz2.compress(X.tobytes())) / X.size
    assert result["beside"]["bz2"] == size
    assert f"; bz2 {size:.3f}; PNG " in capsys.readouterr().out
    (tmp_path / "tiny.json").write_text(json.dumps(result))
    assert f"; bz2 {size:.3f}; PNG " in results.table(tmp_path)


def test_images_of_two_levels_are_packed():
    x = np.uint8(255) * (X > 127)
    bits, levels = coding.other_files(x), coding.other_files(X)
    assert bits["bz2"] == 8 * len(bz2.compress(np.packbits(X > 127))) / x.size
    image = Image.open(io.BytesIO(coding._png(x[0, ..., 0], "1")))
    assert np.array_equal(np.asarray(image), x[0, ..., 0] > 0)
    assert bits["PNG"] < levels["PNG"]


def test_a_row_is_written_with_all_about_it(tmp_path, monkeypatch, capsys):
    row = Row("a tiny one", TINY, 1.0, 0.1, "squares", "https://a.org, table 2", 8, "N")
    monkeypatch.setitem(ROWS, "tiny", row)
    options = {"row": "tiny", "seeds": 2, "out": tmp_path / "run"}
    program.reproduce(program.Arguments(**options, budget=2.0))
    result = json.loads((tmp_path / "run" / "reproduction.json").read_text())
    assert result["shortened"] == "1 of 4 epochs"
    assert result["configuration"]["epochs"] == 1
    assert result["seeds"] == [0, 1]
    assert "a tiny one: " in capsys.readouterr().out
    np.testing.assert_allclose(result["value"], np.mean(result["values"]), rtol=1e-12)
    np.testing.assert_allclose(result["std"], np.std(result["values"], ddof=1))
    assert not result["within"]
    assert "SHORTENED: 1 of 4 epochs" in results.beside(result)
    (tmp_path / "tiny.json").write_text(json.dumps(result))
    *_, line, _, note = results.table(tmp_path).splitlines()
    assert note == "- `tiny`: N" and results.beside(result).endswith("\nN")
    assert "[a tiny one](https://a.org); squares, shortened to 1 of 4 epochs" in line
    assert line.endswith("| 1 | 0.1 | no, shortened |")


def test_a_result_of_something_else_is_not_lost(tmp_path, monkeypatch):
    row = Row("a tiny one", TINY, 1.0, 0.1, "squares", "https://a.org", 8, "A note.")
    monkeypatch.setitem(ROWS, "tiny", replace(row, protocol=replace(TINY, epochs=1)))
    options = {"row": "tiny", "seeds": 2, "out": tmp_path}
    program.reproduce(program.Arguments(**options))
    file = tmp_path / "reproduction.json"
    kept = file.read_text()
    with pytest.raises(RunError, match=r"is of the row 'tiny'; give another --out"):
        program.reproduce(program.Arguments(row="pca-30", out=tmp_path))
    with pytest.raises(RunError, match=r"has the seeds \[0, 1\]; give --seed and"):
        program.reproduce(program.Arguments(row="tiny", seed=1, out=tmp_path))
    assert file.read_text() == kept
    program.reproduce(program.Arguments(**{**options, "seeds": 3}))
    values = json.loads(file.read_text())["values"]
    assert len(values) == 3 and values[:2] == json.loads(kept)["values"]
    file.write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        program.reproduce(program.Arguments(**options))


def test_checkpoints_of_who_knows_what(tmp_path):
    once = replace(TINY, epochs=1)
    once.run(Job(tmp_path, 1, row="tiny"))
    with pytest.raises(RunError, match="has another row: tiny, now other"):
        once.run(Job(tmp_path, 1, row="other"))
    (tmp_path / "protocol.json").unlink()
    with pytest.raises(RunError, match=r"has checkpoints, but no protocol\.json"):
        once.run(Job(tmp_path, 1, row="tiny"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row": None}, "ROW must be one of those of --list"),
        ({"row": "pca-30", "budget": 0.0}, "--budget must be above 0"),
        ({"row": "pca-30", "seeds": 0}, "--seeds must be a whole number"),
        ({"row": "miwae", "seed": -1}, "--seed must be a whole number"),
    ],
)
def test_wrong_words_are_said(options, message):
    with pytest.raises(jaxae.ArgumentError, match=message):
        program.reproduce(program.Arguments(**options))


def test_the_page_has_the_results_that_are_kept():
    text = results.PAGE.read_text("utf-8")
    kept = text.partition(results.BEGIN)[2].partition(results.END)[0]
    assert kept.strip() == results.table()


@pytest.mark.parametrize("file", sorted(results.RESULTS.glob("*.json")), ids=str)
def test_kept_results_are_those_of_the_rows(file):
    """Their protocol has not changed since, but for what was shortened."""
    result, row = json.loads(file.read_text("utf-8")), ROWS[file.stem]
    assert (result["reference"], result["tolerance"]) == (row.published, row.tolerance)
    assert result["notes"] == row.notes and result["seconds"] > 0
    assert result["within"] == (abs(result["value"] - row.published) <= row.tolerance)
    if isinstance(row.protocol, Training):
        ran, protocol = result["configuration"], row.protocol
        assert ran["optimizer"] == protocol.optimizer
        assert ran["batch_size"] == protocol.batch_size
        steps = -(-ran["train_size"] // protocol.batch_size)
        assert ran["recipe"] == repr(protocol.recipe(steps, ran["epochs"]))
        done = ran.get("stopped_after", ran["epochs"])
        assert (done < protocol.epochs) == bool(result["shortened"])


@pytest.mark.parametrize(
    "name", [name for name, row in ROWS.items() if isinstance(row.protocol, Training)]
)
def test_every_protocol_has_a_recipe_and_an_optimizer(name):
    protocol = ROWS[name].protocol
    recipe = protocol.recipe(10, protocol.epochs)
    jaxae.inputs.check_recipe(recipe)
    protocol.tx(10, protocol.epochs).init({"w": jnp.zeros(2)})


# What the protocols are made of


def parameters(shape):
    module = hvae.ConvHVAE(shape)
    batch = {"inputs": jnp.zeros((2, *shape)), "x": jnp.zeros((2, *shape))}
    key = jax.random.key(0)
    return jax.eval_shape(lambda: module.init(key, batch, key))["params"]


def test_the_convolutional_vae_is_as_large_as_its_authors():
    """Layer by layer: inputs, units, side of the kernel, tensors, twice if gated."""
    wide = [(1, 32, 7), (32, 32, 3), (32, 64, 5), (64, 64, 3), (64, 6, 3)]
    narrow = [(1, 32, 3), (32, 32, 3), (32, 64, 3), (64, 64, 3), (64, 6, 3)]
    level = [(1, 64, 3), (64, 64, 3), (64, 64, 3), (64, 64, 3)]
    posteriors = [(294, 40, 1), (40, 294, 1), (588, 300, 1), (300, 40, 1)]
    decoder = [(40, 300, 1), (300, 300, 1), (300, 40, 1), *[(40, 300, 1)] * 2]
    two = [*wide, *narrow, *level, *posteriors, *decoder, (600, 784, 1)]
    count = sum(2 * (i * k * k * o + o) for i, o, k in two) + 64 + 1
    sizes = jax.tree.leaves(
        jax.tree.map(lambda leaf: leaf.size, parameters((28, 28, 1)))
    )
    assert sum(sizes) == count


def test_the_convolutional_vae_is_its_densities():
    """Those of all codes that it draws, each given the one above."""
    shape = (8, 8, 1)
    module = hvae.ConvHVAE(shape, priors.VampPrior(shape, 3))
    x = np.random.default_rng(0).random((2, *shape), np.float32)
    batch = {"inputs": jnp.asarray(x), "x": jnp.asarray(x)}

    @jax.jit
    def found(key):
        def called(*arguments, **options):
            return module.apply(variables, *arguments, **options)

        variables = module.init(key, batch, key)
        two, one = called(batch, key, num_samples=3).latents
        rows = []
        for latent, above in ((two, ()), (one, (two.z,))):
            q = called(above, batch, method="posterior_below")
            p = called(above, batch, method="prior_below")
            own = latent.posterior.mean, latent.prior.log_prob(latent.z)
            rows.append((own, (q.mean, p.log_prob(latent.z))))
        return rows, called(key, 4, {}, method="sample_codes")

    (two, one), drawn = found(jax.random.key(0))
    for own, below in (two, one):
        assert own[1].shape == (3, 2)
        for a, b in zip(own, below, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4)
    assert two[0][0].shape == (1, 2, 40) and one[0][0].shape == (3, 2, 40)
    assert np.ptp(one[0][0], axis=0).max() > 1e-3  # it depends on z_2
    assert [code.shape for code in drawn] == [(1, 4, 40)] * 2


def test_kernels_begin_as_they_are_told_to():
    model = jaxae.init(
        recipes.vae((4, 4, 1), 2, network=networks.FullyConnected((5,))),
        jax.random.key(0),
    )
    begun = parts.as_burda(model, few(0), jax.random.key(1))
    params = begun.variables["params"]
    mean = (X[:8] / 255.0).mean(axis=0).ravel()
    last = params["decoder"]["Dense_0"]
    np.testing.assert_allclose(jax.nn.sigmoid(last["bias"]), mean, rtol=1e-4)
    kernel = params["encoder"]["Dense_0"]["kernel"]
    assert np.abs(kernel).max() <= np.sqrt(6 / (16 + 5))
    assert np.abs(kernel).max() > 0.8 * np.sqrt(6 / (16 + 5))
    stacked = recipes.stacked_vae((4, 4, 1), (3, 2))
    model = jaxae.init(stacked, jax.random.key(0))
    begun = parts.as_burda(model, few(0), jax.random.key(1))
    last = begun.variables["params"]["lower"]["decoder"]["Dense_0"]
    np.testing.assert_allclose(jax.nn.sigmoid(last["bias"]), mean, rtol=1e-4)


@jax.numpy_dtype_promotion("standard")  # as the train step has it for optimizers
def test_gradients_of_any_size_are_those_of_one():
    tx, params = parts.normalised_adam(0.1), {"a": jnp.ones(3), "b": jnp.ones((2, 2))}
    gradient = {"a": jnp.asarray([3.0, 0.0, 4.0]), "b": jnp.ones((2, 2))}
    state = tx.init(params)
    large = jax.tree.map(lambda g: 1e6 * g, gradient)
    update = jax.jit(tx.update)
    first, _ = update(gradient, state, params)
    second, state = update(large, state, params)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    mean = state[1][0].mu["a"]
    np.testing.assert_allclose(mean, 0.1 * np.asarray([0.6, 0.0, 0.8]), rtol=1e-4)


@jax.numpy_dtype_promotion("standard")
def test_stages_are_three_times_as_long_each_and_a_seventh_of_a_decade_lower():
    schedule = parts.stages(1, 3280)
    # Of 1, 3, 9, ... passes, counted from 0.
    firsts = {0: 0, 1: 1, 3: 1, 4: 2, 12: 2, 13: 3, 1092: 6, 1093: 7, 3279: 7}
    for step, stage in firsts.items():
        rate = schedule(jnp.asarray(step))
        np.testing.assert_allclose(rate, 1e-3 * 10 ** (-stage / 7), rtol=1e-4)
    half = parts.stages(2, 1640)
    np.testing.assert_allclose(half(1000), schedule(1000), rtol=1e-6)


def test_cross_entropy_and_relative_error_by_hand(monkeypatch):
    made = np.random.default_rng(1).uniform(0.1, 0.9, (4, 4, 4, 1))
    monkeypatch.setattr(jaxae, "reconstruct", lambda model, x: made)
    x = X[8:] / 255.0
    found = parts.cross_entropy(None, few(0), None)
    expected = [
        -np.log(p) if b else -np.log(1 - p)
        for p, v in zip(made.ravel(), x.ravel(), strict=True)
        for b in (1, 0)
    ]
    weights = [v if b else 1 - v for v in x.ravel() for b in (1, 0)]
    np.testing.assert_allclose(found, np.dot(expected, weights) / x.size, rtol=1e-9)
    ratio = np.square(made - x).mean() / (X[:8] / 255.0).var()
    np.testing.assert_allclose(
        parts.relative_error(None, few(0), None), ratio, rtol=1e-5
    )
