"""What the command line can set: frozen dataclasses.

The text under every field is its help on the command line.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import optax

from train.options import Options


@dataclass(frozen=True)
class Optimizer:
    """Adam."""

    learning_rate: float = 1e-3
    """At the start."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Down to 1 % of it at the end, or constant."""
    weight_decay: float = 0.0
    """Decoupled (AdamW)."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient."""

    def transformation(self, steps: int) -> optax.GradientTransformation:
        """For a training of so many steps."""
        rate = self.learning_rate
        if self.schedule == "cosine":
            rate = optax.cosine_decay_schedule(rate, steps, alpha=0.01)
        adam = optax.adamw(rate, weight_decay=self.weight_decay)
        if not self.weight_decay:
            adam = optax.adam(rate)
        if self.clip_norm is None:
            return adam
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), adam)


@dataclass(frozen=True)
class Config:
    """Trains an auto-encoder."""

    model: Options
    """The family and its networks."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """The optimizer."""
    data: str = "mnist"
    """mnist (embedded), tfds:NAME, FILE.npy, FILE.npz, or a FOLDER of PNG and JPEG."""
    stream: bool = False
    """Read the training batches from the disk as they are needed, for data that do not
    fit on the device."""
    image_size: tuple[int, int] | None = None
    """Height and width to resize the images to."""
    epochs: int = 20
    """Passes over the training images."""
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
