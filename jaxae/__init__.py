"""jaxae: auto-encoders for JAX as compositions of a few parts."""

from jaxae import (
    bottlenecks,
    corruptions,
    distributions,
    evaluation,
    flows,
    hooks,
    likelihoods,
    models,
    networks,
    objectives,
    preparation,
    priors,
    recipes,
    samplers,
    schedules,
    training,
    views,
)
from jaxae._version import __version__
from jaxae.errors import ArgumentError, CheckpointError, TrainingDiverged
from jaxae.exporting import export
from jaxae.inference import decode, encode, interpolate, reconstruct, repair, sample
from jaxae.models import AutoEncoder, LadderVAE
from jaxae.objectives import Objective
from jaxae.recipe import Model, Recipe, compute_in
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
from jaxae.types import Batch, Context, Latent, Trace

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
    "compute_in",
    "corruptions",
    "decode",
    "distributions",
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
    "models",
    "networks",
    "objectives",
    "preparation",
    "priors",
    "recipes",
    "reconstruct",
    "repair",
    "sample",
    "samplers",
    "schedules",
    "training",
    "views",
]
