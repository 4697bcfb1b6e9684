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
    precision,
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
from jaxae.exporting import export
from jaxae.ladder import LadderVAE
from jaxae.training import (
    Epoch,
    Fit,
    Parallel,
    Progress,
    TrainState,
    fit,
    fit_many,
    make_train_step,
)
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
    "Parallel",
    "Progress",
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
    "export",
    "fit",
    "fit_many",
    "flows",
    "hooks",
    "interpolate",
    "likelihoods",
    "make_train_step",
    "networks",
    "objectives",
    "precision",
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
