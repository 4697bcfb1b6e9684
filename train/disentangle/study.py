"""Every family with every seed, and the scores of its codes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxae
from jaxae import evaluation, recipes
from jaxae.checks import check_count
from jaxae.networks import FullyConnected
from jaxae.training.many import fit_many
from train.config import Optimizer
from train.data import Split, load
from train.data.shapes import FACTORS
from train.errors import RunError
from train.run import read_json, write_json

LATENT_DIM, BATCH = 10, 100
NETWORK = FullyConnected((400, 400))
CATEGORIES = (list(FACTORS).index("shape"),)
LEAST = 200  # examples, of which every value of every factor has some

Make = Callable[..., jaxae.Recipe]
Scores = dict[str, float]


class Method(NamedTuple):
    """A family, and how strongly it is to disentangle."""

    family: Make
    options: Mapping[str, Any] = {}


METHODS = {
    "VAE": Method(recipes.vae),
    "β-VAE": Method(recipes.vae, {"beta": 4.0}),
    "FactorVAE": Method(recipes.factor_vae, {"weight": 10.0}),
    "β-TC-VAE": Method(recipes.beta_tc_vae, {"beta": 6.0}),
    "DIP-VAE-I": Method(recipes.dip_vae, {"kind": "i"}),
    "DIP-VAE-II": Method(recipes.dip_vae, {"kind": "ii"}),
}


class Pictures(NamedTuple):
    """What is trained on, chosen by, and scored by; the last are of all parts."""

    train: Split
    validation: Split
    test: Split
    scored: Split


def compare(
    out: Path,
    seeds: int,
    epochs: int,
    examples: int | None,
    methods: Mapping[str, Method] = METHODS,
) -> dict[str, Any]:
    """Trains and scores; scores.json is written after every family.

    Families that it has already, of the same settings, are not trained again.

    Args:
        out: The directory, which is made.
        seeds: Trainings of every family.
        epochs: Passes over the training pictures.
        examples: How many of them, and of all to be scored by; None for all.
        methods: What is compared, by name.

    Returns:
        What is in scores.json: the settings, and under "methods" the recipe and the
        scores of each, a list over the seeds of every score.

    Raises:
        ArgumentError: A number is too small.
        RunError: The directory has a study with other settings, or a damaged one.
        OSError: The directory cannot be written to.
    """
    check_count("--seeds", seeds)
    check_count("--epochs", epochs)
    if examples is not None:
        check_count("--examples", examples, least=LEAST)
    out.mkdir(parents=True, exist_ok=True)
    pictures = _pictures(examples)
    settings: dict[str, Any] = {
        "data": "shapes",
        "train_size": len(pictures.train.images),
        "scored": len(pictures.scored.images),
        "seeds": seeds,
        "epochs": epochs,
        "batch_size": BATCH,
        "device": jax.local_devices()[0].device_kind,
        "jax": jax.__version__,
    }
    study = _begun(out, settings)
    for name, method in methods.items():
        if name in study["methods"]:
            continue
        print(f"{name}: {seeds} trainings", flush=True)
        fits = _trained(method, pictures, seeds, epochs)
        scores = [score(fitted, pictures) for fitted in fits]
        study["methods"][name] = {
            "recipe": repr(fits[0].model.recipe),
            "scores": {key: [each[key] for each in scores] for key in scores[0]},
        }
        write_json(out / "scores.json", study)
    return study


def _begun(out: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a study that was interrupted has, or a new one."""
    file = out / "scores.json"
    study = read_json(file) if file.exists() else {**settings, "methods": {}}
    for name, value in settings.items():
        if study.get(name) != value:
            raise RunError(f"{file}: has {study.get(name)} {name}, not {value}")
    (out / "scores.png").unlink(missing_ok=True)  # drawn anew when all are there
    return study


def score(fitted: jaxae.Fit, pictures: Pictures) -> Scores:
    """All scores of the best model, see `jaxae.evaluation`.

    The probes are the means over the factors; `distortion_nats` is -log p(x | z) of the
    validation pictures, which a code may pay for being disentangled.
    """
    key, model = jax.random.key(0), fitted.model
    codes, factors = _codes(model, pictures.scored), pictures.scored.labels
    probed = [(_codes(model, s), s.labels) for s in (pictures.train, pictures.test)]
    (train, train_factors), (test, test_factors) = probed
    assert train_factors is not None and test_factors is not None
    columns = list(zip(train_factors.T, test_factors.T, strict=True))
    best = fitted.history[max(fitted.best_epoch, 1) - 1]
    return {
        "mig": evaluation.mig(codes, factors),
        "sap": evaluation.sap(codes, factors, categories=CATEGORIES),
        "factor_vae_score": evaluation.factor_vae_score(codes, factors, key),
        **evaluation.dci(codes, factors, key),
        **{
            probe.__name__: float(
                np.mean([probe(train, own, test, other) for own, other in columns])
            )
            for probe in (evaluation.linear_probe, evaluation.knn_accuracy)
        },
        "distortion_nats": best["validation_distortion_nats"],
    }


def _pictures(examples: int | None) -> Pictures:
    data = load("shapes")
    assert isinstance(data.train, Split)
    everything = Split.joined([data.train, data.validation, data.test])
    order = np.random.default_rng(0).permutation(len(everything.images))
    count = len(order) if examples is None else examples
    scored = everything.take(order[:count])
    return Pictures(data.train.head(count), data.validation, data.test, scored)


def _trained(
    method: Method, pictures: Pictures, seeds: int, epochs: int
) -> list[jaxae.Fit]:
    images = pictures.train.images
    options = dict(method.options, network=NETWORK)
    if method.family is recipes.beta_tc_vae:
        options["data_size"] = len(images)
    recipe = method.family(images.shape[1:], LATENT_DIM, **options)
    tx = Optimizer().transformation(epochs * -(-len(images) // BATCH))

    def build(_: None) -> tuple[jaxae.Recipe, optax.GradientTransformation]:
        return recipe, tx

    return fit_many(
        build,
        images,
        keys=jnp.stack([jax.random.key(seed) for seed in range(seeds)]),
        epochs=epochs,
        batch_size=BATCH,
        validation=pictures.validation.images,
    )


def _codes(model: jaxae.Model, split: Split) -> np.ndarray:
    return np.asarray(jaxae.encode(model, split.images))
