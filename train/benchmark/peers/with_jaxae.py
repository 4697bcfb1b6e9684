"""`jaxae.fit` with a recipe, as a user writes it; -log p(x) by `jaxae.evaluation`."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxae
from jaxae import likelihoods, recipes
from jaxae.evaluation import nll_nats
from train.benchmark import networks
from train.benchmark.peers.memory import device_peak
from train.benchmark.peers.worker import Case, answer, read_task, serve, wait

SHAPE = (28, 28, 1)


def main() -> None:
    """Serves the case."""
    case, images = read_task()
    (evaluate if case["task"] == "nll" else train)(case, images)


def make_recipe(case: Case) -> jaxae.Recipe:
    """The family of a case."""
    if case["task"] == "nll":
        return recipes.vae(SHAPE)
    if case["samples"] > 1:
        samples = case["samples"]
        grey = "binary_cross_entropy"
        return recipes.iwae(SHAPE, num_samples=samples, likelihood=grey)
    return _RECIPES[case["model"]]()


def train(case: Case, images: np.ndarray) -> None:
    """Rounds are the epochs of one `fit`, which waits for its turn in a callback."""
    asked, start = True, 0.0

    def turn(epoch: jaxae.Epoch) -> None:
        nonlocal asked, start
        said = {"seconds": time.perf_counter() - start}
        if epoch.number == 1:
            said = {"parameters": _count(epoch.state.params["model"])}
        loss = epoch.metrics["loss"]
        answer(**said, loss=loss, device_peak_bytes=device_peak())
        asked = wait()
        start = time.perf_counter()

    jaxae.fit(
        make_recipe(case),
        images,
        key=jax.random.key(0),
        epochs=10**6,
        batch_size=case["batch_size"],
        tx=optax.adam(case["learning_rate"]),
        callbacks=[turn],
        progress=False,
        stop=lambda: not asked,
    )


def evaluate(case: Case, images: np.ndarray) -> None:
    """A round is the log-likelihood of all images under fresh weights."""
    recipe = make_recipe(case)
    key = jax.random.key(0)
    few = {"x": jnp.asarray(images[:2])}
    state = jaxae.training.init_state(recipe, optax.adam(1e-3), few, key)
    model = jaxae.training.trained_model(recipe, state)

    def one_round() -> float:
        return float(nll_nats(model, images, key, num_samples=case["samples"]).mean())

    serve(_count(state.params["model"]), one_round, device_peak)


def _vq_vae() -> jaxae.Recipe:
    return recipes.vqvae(
        SHAPE,
        codebook_size=256,
        code_dim=32,
        network=(networks.VQEncoder(), lambda _: networks.VQDecoder()),
        # pythae's loss: the squared error, summed, and a quarter of the mean distance
        # to the codes, of 4 x 4 x 32 numbers. Ours has a constant beside it.
        likelihood=likelihoods.Gaussian(0.5**0.5),
        commitment_weight=0.25 / (4 * 4 * 32),
    )


_RECIPES = {
    "mlp-vae": partial(recipes.vae, SHAPE, likelihood="binary_cross_entropy"),
    "keras-denoiser": recipes.keras_denoiser,
    "conv-vae": partial(
        recipes.vae,
        SHAPE,
        network=(networks.VAEEncoder(), lambda _: networks.VAEDecoder()),
        likelihood="binary_cross_entropy",
    ),
    "vq-vae": _vq_vae,
}


def _count(params: object) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


if __name__ == "__main__":
    main()
