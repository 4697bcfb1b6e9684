"""The data of the protocols, what their numbers are, and how their weights begin."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA

import jaxae
from jaxae.evaluation import elbo_terms, nll_nats
from jaxae.types import Params
from train.data import load
from train.reproduce.protocol import Parts

Measure = Callable[[jaxae.Model, Parts, jax.Array], float]
LEAST = 1e-7
"""Keras keeps probabilities so far from 0 and 1."""


@lru_cache
def _mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """50,000, 10,000 and 10,000 images of bytes."""
    data = load("mnist")
    train, validation, test = (split.images for split in data.splits().values())
    return np.asarray(train), np.asarray(validation), np.asarray(test)


def mnist_50k(seed: int) -> Parts:
    """The best epoch is that of 10,000 further images."""
    del seed
    train, validation, test = _mnist()
    return Parts({"x": train}, {"x": test}, {"x": validation})


def mnist_60k(seed: int) -> Parts:
    """All images but those of the test; the last epoch counts."""
    del seed
    train, validation, test = _mnist()
    return Parts({"x": np.concatenate([train, validation])}, {"x": test})


def mnist_bits(seed: int) -> Parts:
    """All images but those of the test, which are binarised once."""
    train, test = mnist_60k(seed)[:2]
    chances = test["x"] / np.float32(255)
    drawn = np.random.default_rng(seed).random(chances.shape, np.float32) < chances
    return Parts(train, {"x": np.uint8(255) * drawn.astype(np.uint8)})


def mnist_once_noisy(seed: int) -> Parts:
    """Pairs of clean and noisy images, whose noise of std 0.4 is drawn once."""
    rng = np.random.default_rng(seed)

    def noisy(x: np.ndarray) -> dict[str, np.ndarray]:
        noise = 0.4 * rng.standard_normal(x.shape, np.float32)
        return {"x": x, "inputs": np.clip(x / np.float32(255) + noise, 0.0, 1.0)}

    train, validation, test = _mnist()
    return Parts(noisy(np.concatenate([train, validation])), noisy(test))


def breast_cancer(seed: int) -> Parts:
    """Standardised features, half of all values removed; the test knows them."""
    x, _ = load_breast_cancer(return_X_y=True)
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    gone = np.random.default_rng(seed).permutation(x.size) < x.size // 2
    gaps = np.where(gone.reshape(x.shape), np.float32(np.nan), x)
    return Parts({"x": gaps, "missing": "nan"}, {"x": gaps, "whole": x})


def nll(num_samples: int) -> Measure:
    """-log p(x) of an image in nats, by importance samples."""

    def measure(model: jaxae.Model, parts: Parts, key: jax.Array) -> float:
        each = nll_nats(model, parts.test, key, num_samples=num_samples)
        return float(np.mean(each, dtype=np.float64))

    return measure


def negative_elbo(model: jaxae.Model, parts: Parts, key: jax.Array) -> float:
    """The mean over images, in nats, by one sample of the code."""
    each = elbo_terms(model, parts.test, key)["elbo_nats"]
    return -float(np.mean(each, dtype=np.float64))


def cross_entropy(model: jaxae.Model, parts: Parts, key: jax.Array) -> float:
    """The mean over pixels, in nats, between grey levels and what is made of them."""
    del key
    x = parts.test["x"] / 255.0
    made = np.asarray(_made(model, parts), np.float64).clip(LEAST, 1 - LEAST)
    return float(-np.mean(x * np.log(made) + (1 - x) * np.log(1 - made)))


def squared_error(model: jaxae.Model, parts: Parts, key: jax.Array) -> float:
    """The mean over images of the sum over their pixels in [0, 1]."""
    del key
    error = np.asarray(_made(model, parts), np.float64) - parts.test["x"] / 255.0
    return float(np.square(error).sum(axis=(1, 2, 3)).mean())


def relative_error(model: jaxae.Model, parts: Parts, key: jax.Array) -> float:
    """The mean squared error over the variance of the pixels that were learned."""
    variance = np.var(parts.train["x"] / np.float32(255), dtype=np.float64)
    pixels = parts.test["x"][0].size
    return squared_error(model, parts, key) / pixels / float(variance)


def imputation_error(model: jaxae.Model, parts: Parts, key: jax.Array) -> float:
    """The mean squared error of what was removed, by 10,000 importance samples."""
    gaps, whole = parts.test["x"], parts.test["whole"]
    filled = jaxae.impute(model, gaps, missing="nan", key=key, num_samples=10_000)
    return float(np.square(np.asarray(filled) - whole)[np.isnan(gaps)].mean())


def _made(model: jaxae.Model, parts: Parts) -> jax.Array:
    return jaxae.reconstruct(model, parts.test.get("inputs", parts.test["x"]))


def error_of_components(count: int) -> Callable[[int], float]:
    """The squared error of an image by so many principal components of 60,000."""

    def value(seed: int) -> float:
        parts = mnist_60k(seed)
        train, test = (
            part["x"].reshape(len(part["x"]), -1) / np.float32(255)
            for part in (parts.train, parts.test)
        )
        pca = PCA(count, svd_solver="covariance_eigh").fit(train)
        error = pca.inverse_transform(pca.transform(test)) - test
        return float(np.square(error, dtype=np.float64).sum(axis=1).mean())

    return value


# How the weights begin


def redrawn(initializer: nn.initializers.Initializer) -> Callable[..., jaxae.Model]:
    """Kernels of dense layers drawn by another initialiser, biases as they are."""

    def begin(model: jaxae.Model, parts: Parts, key: jax.Array) -> jaxae.Model:
        del parts
        leaves, form = jax.tree.flatten(model.variables["params"])
        keys = jax.random.split(key, len(leaves))
        drawn = [
            initializer(key, leaf.shape, leaf.dtype) if leaf.ndim == 2 else leaf
            for key, leaf in zip(keys, leaves, strict=True)
        ]
        return _with_params(model, jax.tree.unflatten(form, drawn))

    return begin


def narrow_codebook(model: jaxae.Model, parts: Parts, key: jax.Array) -> jaxae.Model:
    """Its entries uniform within 0.05, as Keras' initialiser has them."""
    del parts
    params: dict[Any, Any] = flatten_dict(model.variables["params"])
    (path,) = (path for path in params if path[-1] == "codebook")
    shape = params[path].shape
    params[path] = jax.random.uniform(key, shape, jnp.float32, -0.05, 0.05)
    return _with_params(model, unflatten_dict(params))


def as_burda(model: jaxae.Model, parts: Parts, key: jax.Array) -> jaxae.Model:
    """Glorot's kernels, and the output's bias as the logit of the mean image."""
    model = redrawn(nn.initializers.glorot_uniform())(model, parts, key)
    mean = (parts.train["x"] / np.float32(255)).mean(axis=0, dtype=np.float64)
    bias = jax.scipy.special.logit(jnp.asarray(mean.clip(1e-3, 1 - 1e-3).ravel()))
    path = (*["lower"] * isinstance(model.module, jaxae.Stacked), "decoder", "Dense_0")
    params = flatten_dict(model.variables["params"])
    return _with_params(model, unflatten_dict({**params, (*path, "bias"): bias}))


def _with_params(model: jaxae.Model, params: Params) -> jaxae.Model:
    return model.replace(variables={**model.variables, "params": params})


# Optimizers that optax has no name for


def normalised_adam(rate: float) -> optax.GradientTransformation:
    """Adam on gradients that are divided by their norm, tensor by tensor."""

    def unit(gradient: jax.Array) -> jax.Array:
        return gradient / (jnp.linalg.norm(gradient.ravel()) + 1e-7)

    divided = optax.stateless(lambda updates, params: jax.tree.map(unit, updates))
    return optax.chain(divided, optax.adam(rate))


def adam_in_stages(steps: int, epochs: int) -> optax.GradientTransformation:
    """The optimizer of Burda et al. (2016), with a rate by `stages`."""
    return optax.adam(stages(steps, epochs), eps=1e-4)


def stages(steps: int, epochs: int) -> optax.Schedule:
    """Passes 3^i at 10^(-i / 7) · 1e-3, i = 0 to 7; if shortened, all of them alike."""
    ends = np.cumsum([3**i for i in range(8)]) / sum(3**i for i in range(8))
    bounds = {round(end * epochs * steps): 10 ** (-1 / 7) for end in ends[:-1]}
    return optax.piecewise_constant_schedule(1e-3, bounds)
