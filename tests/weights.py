"""Weights that nothing has to be compiled for."""

import jax
import numpy as np


def some_weights(forms, size, mean=0.0, seed=0):
    """Normal numbers in arrays of these forms, one after the other."""
    normal = np.random.default_rng(seed).normal

    def fill(form):
        return jax.device_put(normal(mean, size, form.shape).astype(form.dtype))

    return jax.tree.map(fill, forms)
