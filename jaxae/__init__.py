"""jaxae: auto-encoders for JAX as compositions of a few parts.

`fit` trains one of `recipes`, or a `Recipe` of your own, `fit_many` several at once.
`encode`, `decode`, `reconstruct`, `repair`, `impute`, `sample`, `interpolate` and
`traverse` use the model; `posterior` and `likelihood` are its distributions; `save`,
`load` and `export` keep it. `evaluation` has its numbers, `samplers` priors for codes
after training, `plotting` pictures, `Shards` data that are read from the disk.
"""

from jaxae import bottlenecks as bottlenecks
from jaxae import compression as compression
from jaxae import corruptions as corruptions
from jaxae import distributions as distributions
from jaxae import evaluation as evaluation
from jaxae import flows as flows
from jaxae import hooks as hooks
from jaxae import likelihoods as likelihoods
from jaxae import models as models
from jaxae import networks as networks
from jaxae import objectives as objectives
from jaxae import preparation as preparation
from jaxae import priors as priors
from jaxae import recipes as recipes
from jaxae import samplers as samplers
from jaxae import schedules as schedules
from jaxae import training as training
from jaxae import views as views
from jaxae._version import __version__ as __version__
from jaxae.errors import ArgumentError as ArgumentError
from jaxae.errors import CheckpointError as CheckpointError
from jaxae.errors import TrainingDiverged as TrainingDiverged
from jaxae.inference import decode as decode
from jaxae.inference import encode as encode
from jaxae.inference import impute as impute
from jaxae.inference import interpolate as interpolate
from jaxae.inference import likelihood as likelihood
from jaxae.inference import posterior as posterior
from jaxae.inference import reconstruct as reconstruct
from jaxae.inference import repair as repair
from jaxae.inference import repair_in_tiles as repair_in_tiles
from jaxae.inference import sample as sample
from jaxae.inference import traverse as traverse
from jaxae.models import AutoEncoder as AutoEncoder
from jaxae.models import LadderVAE as LadderVAE
from jaxae.models import Stacked as Stacked
from jaxae.models import UNet as UNet
from jaxae.objectives import Objective as Objective
from jaxae.recipe import Model as Model
from jaxae.recipe import Recipe as Recipe
from jaxae.recipe import compute_in as compute_in
from jaxae.saving.models import load as load
from jaxae.saving.models import save as save
from jaxae.saving.programs import export as export
from jaxae.streaming.shards import Shards as Shards
from jaxae.training import Epoch as Epoch
from jaxae.training import Fit as Fit
from jaxae.training import Parallel as Parallel
from jaxae.training import Progress as Progress
from jaxae.training import TrainState as TrainState
from jaxae.training import fit as fit
from jaxae.training import fit_many as fit_many
from jaxae.training import make_train_step as make_train_step
from jaxae.training.initial import init as init
from jaxae.training.initial import summary as summary
from jaxae.types import Batch as Batch
from jaxae.types import Context as Context
from jaxae.types import Latent as Latent
from jaxae.types import Trace as Trace
