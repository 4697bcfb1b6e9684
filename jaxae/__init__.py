"""jaxae: auto-encoders for JAX as compositions of a few parts.

`fit` trains one of `recipes`, or a `Recipe` of your own, `fit_many` several at once.
`encode`, `decode`, `reconstruct`, `repair`, `impute`, `sample`, `interpolate` and
`traverse` use the model; `posterior` and `likelihood` are its distributions; `save`,
`load` and `export` keep it. `evaluation` has its numbers, `samplers` priors for codes
after training, `plotting` pictures, `Shards` data that are read from the disk.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxae import (
    bottlenecks,
    compression,
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
from jaxae.inference import (
    decode,
    encode,
    impute,
    interpolate,
    likelihood,
    posterior,
    reconstruct,
    repair,
    repair_in_tiles,
    sample,
    traverse,
)
from jaxae.models import AutoEncoder, LadderVAE, Stacked, UNet
from jaxae.objectives import Objective
from jaxae.recipe import Model, Recipe, compute_in
from jaxae.saving.models import load, save
from jaxae.saving.programs import export
from jaxae.streaming.shards import Shards
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
from jaxae.training.initial import init, summary
from jaxae.types import Batch, Context, Latent, Trace

if TYPE_CHECKING:
    from jaxae import plotting as plotting
else:

    def __getattr__(name: str) -> Any:
        """Pictures are loaded where they are first asked for, as matplotlib is slow."""
        if name == "plotting":
            return import_module("jaxae.plotting")
        raise AttributeError(f"module 'jaxae' has no attribute {name!r}")


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
    "Shards",
    "Stacked",
    "Trace",
    "TrainState",
    "TrainingDiverged",
    "UNet",
    "__version__",
    "bottlenecks",
    "compression",
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
    "impute",
    "init",
    "interpolate",
    "likelihood",
    "likelihoods",
    "load",
    "make_train_step",
    "models",
    "networks",
    "objectives",
    "posterior",
    "preparation",
    "priors",
    "recipes",
    "reconstruct",
    "repair",
    "repair_in_tiles",
    "sample",
    "samplers",
    "save",
    "schedules",
    "summary",
    "training",
    "traverse",
    "views",
]
