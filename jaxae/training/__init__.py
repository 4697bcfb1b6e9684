"""Training: the state, the one step, the epoch and the loop."""

from jaxae.training.averaging import average_weights
from jaxae.training.epoch import make_epoch, make_validation
from jaxae.training.fit import fit
from jaxae.training.loop import Epoch, Fit, Progress
from jaxae.training.many import fit_many
from jaxae.training.parallel import Parallel
from jaxae.training.state import init_state, trained_model
from jaxae.training.step import make_train_step
from jaxae.types import TrainState

__all__ = [
    "Epoch",
    "Fit",
    "Parallel",
    "Progress",
    "TrainState",
    "average_weights",
    "fit",
    "fit_many",
    "init_state",
    "make_epoch",
    "make_train_step",
    "make_validation",
    "trained_model",
]
