"""What the command line can set: frozen dataclasses, from which recipes are made.

The text under every field is its help on the command line.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import optax

from train.families import Model


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

    model: Model
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
    tensorboard: bool = False
    """Write scalars and pictures for TensorBoard into the run's directory."""
