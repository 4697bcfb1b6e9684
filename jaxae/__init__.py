"""jaxae: auto-encoders for JAX as compositions of a few parts."""

from jaxae import (
    bottlenecks,
    corruptions,
    evaluation,
    likelihoods,
    networks,
    objectives,
    preparation,
    recipes,
    samplers,
    training,
)
from jaxae._version import __version__
from jaxae.autoencoder import AutoEncoder
from jaxae.errors import ArgumentError, CheckpointError, TrainingDiverged
from jaxae.training import Epoch, Fit, TrainState, fit, make_train_step
from jaxae.types import Batch, Context, Latent, Model, Objective, Recipe, Trace
from jaxae.use import decode, encode, interpolate, reconstruct, restore, sample

__all__ = [
    "ArgumentError",
    "AutoEncoder",
    "Batch",
    "CheckpointError",
    "Context",
    "Epoch",
    "Fit",
    "Latent",
    "Model",
    "Objective",
    "Recipe",
    "Trace",
    "TrainState",
    "TrainingDiverged",
    "__version__",
    "bottlenecks",
    "corruptions",
    "decode",
    "encode",
    "evaluation",
    "fit",
    "interpolate",
    "likelihoods",
    "make_train_step",
    "networks",
    "objectives",
    "preparation",
    "recipes",
    "reconstruct",
    "restore",
    "sample",
    "samplers",
    "training",
]
