"""jaxae: auto-encoders for JAX as compositions of a few parts."""

from jaxae import (
    bottlenecks,
    corruptions,
    evaluation,
    flows,
    hooks,
    likelihoods,
    networks,
    objectives,
    preparation,
    priors,
    recipes,
    samplers,
    training,
    views,
)
from jaxae._version import __version__
from jaxae.autoencoder import AutoEncoder
from jaxae.errors import ArgumentError, CheckpointError, TrainingDiverged
from jaxae.ladder import LadderVAE
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
    "LadderVAE",
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
    "flows",
    "hooks",
    "interpolate",
    "likelihoods",
    "make_train_step",
    "networks",
    "objectives",
    "preparation",
    "priors",
    "recipes",
    "reconstruct",
    "restore",
    "sample",
    "samplers",
    "training",
    "views",
]
