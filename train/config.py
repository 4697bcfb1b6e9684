"""What the command line can set: frozen dataclasses.

The text under every field is its help on the command line, or beside it with what a
part in words may be.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import optax

from jaxae.errors import require
from jaxae.training import average_weights
from train import words
from train.options import Options, argument

_SCALE = (
    "Train on scaled data, by numbers of the training examples unless they are given, "
    "and undo it on the way out; with a likelihood of real numbers, such as gaussian."
)


@dataclass(frozen=True)
class Optimizer:
    """The optimizer."""

    name: Literal["adam", "muon", "lion", "sgd", "schedule_free"] = "adam"
    """Adam, AdamW with a weight decay; Muon for matrices with Adam for the rest (Jordan
    et al. 2024); Lion; SGD with momentum 0.9; or AdamW that needs no schedule (Defazio
    et al. 2024)."""
    learning_rate: float = 1e-3
    """At the start."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Down to 1 % of it at the end, or constant, as it is with schedule_free."""
    warmup: float = 0.0
    """Part of the training in which the learning rate grows from 0."""
    weight_decay: float = 0.0
    """Decoupled."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient."""
    average: float | None = None
    """Decay of a running mean of the weights, such as 0.999, which is validated and
    kept; 1 for the mean over all steps."""

    def transformation(self, steps: int) -> optax.GradientTransformation:
        """For a training of so many steps."""
        require(0 <= self.warmup < 1, "--optimizer.warmup", self.warmup, "in [0, 1)")
        tx = self._core(round(self.warmup * steps), steps)
        if self.clip_norm is not None:
            tx = optax.chain(optax.clip_by_global_norm(self.clip_norm), tx)
        return tx if self.average is None else average_weights(tx, self.average)

    def _core(self, warmup: int, steps: int) -> optax.GradientTransformation:
        rate, decay = self._rate(warmup, steps), self.weight_decay
        if self.name == "schedule_free":
            return optax.contrib.schedule_free_adamw(
                self.learning_rate, warmup, weight_decay=decay
            )
        if self.name == "muon":
            return optax.contrib.muon(rate, weight_decay=decay, adam_weight_decay=decay)
        if self.name == "lion":
            return optax.lion(rate, weight_decay=decay)
        if self.name == "sgd":
            return optax.chain(
                optax.add_decayed_weights(decay), optax.sgd(rate, momentum=0.9)
            )
        return optax.adamw(rate, weight_decay=decay) if decay else optax.adam(rate)

    def _rate(self, warmup: int, steps: int) -> optax.ScalarOrSchedule:
        peak, least = self.learning_rate, 0.01
        if self.schedule == "cosine":
            if not warmup:
                return optax.cosine_decay_schedule(peak, steps, alpha=least)
            return optax.warmup_cosine_decay_schedule(
                0.0, peak, warmup, steps, end_value=least * peak
            )
        return optax.linear_schedule(0.0, peak, warmup) if warmup else peak


@dataclass(frozen=True)
class Config:
    """Trains an auto-encoder."""

    model: Options
    """The family and its networks."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """The optimizer."""
    data: str = "mnist"
    """mnist (embedded), shapes (drawn), tfds:NAME, FILE.npy, FILE.npz, or a FOLDER of
    PNG and JPEG."""
    inputs: str | None = None
    """What the encoder sees in place of the data, such as damaged images of those in
    --data: a FOLDER of the same names, or FILE.npy of as many rows. A FILE.npz has them
    as "inputs"."""
    missing: str | None = None
    """Where the data are not known: masks, white where pixels are missing, in a FOLDER
    of the same names or FILE.npy; or nan for what is NaN in an array. A FILE.npz has
    them as "missing"."""
    scale: Annotated[str | None, argument(_SCALE, words.SCALE)] = None
    stream: bool = False
    """Read the training batches from the disk as they are needed, for data that do not
    fit on the device."""
    image_size: tuple[int, int] | None = None
    """Height and width to resize the images to."""
    epochs: int = 20
    """Passes over the training examples."""
    patience: int | None = None
    """Epochs in a row without a better one after which training ends."""
    steps_per_epoch: int | None = None
    """With --stream: what counts as an epoch, after which there are a line of metrics
    and a checkpoint; a pass if not given."""
    batch_size: int = 100
    """Images per step."""
    seed: int = 0
    """Everything random follows from it."""
    nll_samples: int = 500
    """Importance samples per test image for the log-likelihood; 0 leaves it out."""
    out: Path | None = None
    """Directory of the run; runs/PRESET-DATE if not given."""
    overwrite: bool = False
    """Replace the run that is already there."""
    resume: bool = False
    """Go on with the run in --out, to the very end that it would have had; start it if
    it is not there yet."""
    start: str | None = None
    """A run, or a folder that jaxae.save wrote: begin with its weights, as far as they
    fit."""
    seeds: int = 1
    """Trainings at once in one program, with the seeds SEED, SEED + 1, ..."""
    sweep: tuple[str, ...] = ()
    """An option and its values, such as `model.beta 0.5 1 2`: a training of each at
    once, with every seed."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the networks compute in; parameters, losses and updates are float32."""
    accumulate: int = 1
    """Parts that a batch goes through the model in, for less memory."""
    remat: bool = False
    """Compute activations again for the backward pass, for less memory."""
    random: Literal["threefry2x32", "rbg"] = "threefry2x32"
    """The random numbers; those of rbg are faster on TPUs, but depend on the number of
    devices."""
    parallel: Literal["data", "fsdp", "pmap", "none"] = "data"
    """All devices share every batch; with fsdp they also share parameters and optimizer
    state; pmap is the older way; none takes one device."""
    distributed: str | None = None
    """Several hosts, each of which starts this program: auto on TPU pods, Slurm and
    GKE; or HOST:PORT of the first, with the next two."""
    num_processes: int | None = None
    """Number of hosts."""
    process_id: int | None = None
    """This one, from 0."""
    tensorboard: bool = False
    """Write scalars and pictures for TensorBoard into the run's directory."""
