"""What `python -m train.scaling` can be told."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from train.commands import parse_preset
from train.config import Optimizer
from train.options import Options
from train.presets import Preset

Mode = Literal["strong", "weak"]


@dataclass(frozen=True)
class Arguments:
    """Measures how a preset's training step scales with the number of devices."""

    model: Options
    """The family and its networks."""
    optimizer: Optimizer
    """The optimizer."""
    shape: tuple[int, int, int] = (28, 28, 1)
    """Height, width and channels of the images, which are random bytes."""
    devices: tuple[int, ...] = ()
    """Numbers of devices; 1, 2, 4 and so on up to all there are if not given."""
    mode: Literal["strong", "weak", "both"] | None = None
    """strong: the batch stays. weak: the batch per device stays. both if not given,
    weak with --compile-only."""
    parallel: Literal["data", "fsdp"] = "data"
    """data: every device has all parameters. fsdp: they are divided too."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the networks compute in."""
    accumulate: int = 1
    """Parts that a batch goes through the model in."""
    remat: bool = False
    """Compute activations again for the backward pass."""
    random: Literal["threefry2x32", "rbg"] = "threefry2x32"
    """The random numbers."""
    batch_size: int | None = None
    """Images per step on one device; the preset's if not given, a little more where
    strong scaling could not divide it."""
    steps: int = 20
    """Steps per round."""
    rounds: int = 5
    """Rounds, each over all numbers of devices; the medians count."""
    simulate: int | None = None
    """Simulate so many devices on the CPU. Speeds mean nothing then; losses, memory
    and what travels between the devices are right."""
    compile_only: bool = False
    """Run nothing: predict from the program that is compiled for simulated devices,
    and from the next two numbers."""
    peak_flops: float = 197e12
    """Floating-point operations per second of a device (TPU v5e in bfloat16)."""
    link_bandwidth: float = 90e9
    """Bytes per second that a device sends in a ring (TPU v5e, one axis, both ways)."""
    out: Path | None = None
    """Directory of the results; runs/scaling-PRESET-DATE if not given."""

    @property
    def modes(self) -> tuple[Mode, ...]:
        """One or both."""
        if self.mode is None:
            return ("weak",) if self.compile_only else ("strong", "weak")
        return ("strong", "weak") if self.mode == "both" else (self.mode,)

    @property
    def simulated(self) -> int | None:
        """How many devices to simulate, if any."""
        return max(self.devices, default=1) if self.compile_only else self.simulate


def parse(arguments: Sequence[str]) -> tuple[str, Arguments]:
    """The preset and what is to be done with it; the default where none is named."""

    def make(preset: Preset) -> Arguments:
        config = preset.config()
        return Arguments(config.model, config.optimizer)

    about = "How a preset's training step scales with the devices."
    return parse_preset(arguments, make, "train.scaling", about)
