"""Training: the state, the one step, the epoch and the loop."""

from jaxae.training.averaging import average_weights as average_weights
from jaxae.training.epoch import make_epoch as make_epoch
from jaxae.training.epoch import make_validation as make_validation
from jaxae.training.fit import fit as fit
from jaxae.training.loop import Epoch as Epoch
from jaxae.training.loop import Fit as Fit
from jaxae.training.loop import Progress as Progress
from jaxae.training.many import fit_many as fit_many
from jaxae.training.parallel import Parallel as Parallel
from jaxae.training.state import init_state as init_state
from jaxae.training.state import trained_model as trained_model
from jaxae.training.step import make_train_step as make_train_step
from jaxae.types import TrainState as TrainState
