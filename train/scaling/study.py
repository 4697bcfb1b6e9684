"""What is compared: which numbers of devices, with which batches."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import jaxae
from jaxae.checks import check_count
from jaxae.errors import ensure, require
from jaxae.inputs import abstract_fields
from jaxae.recipe import compute_in
from jaxae.training import TrainState, init_state
from jaxae.types import Batch
from train.options import Plan
from train.presets import PRESETS
from train.scaling.arguments import Arguments, Mode

TRAIN_SIZE, TRAINING_STEPS = 50_000, 10_000
"""What the step's training would have; only schedules know of it."""


class Point(NamedTuple):
    """One number of devices, with the global batch."""

    mode: Mode
    devices: int
    batch_size: int


class Study(NamedTuple):
    """All that is compared.

    Attributes:
        preset: Its name.
        arguments: What was asked for.
        recipe: The family.
        tx: The optimizer.
        points: By mode, then by number of devices.
        make_state: `init_state` of both, compiled once.
    """

    preset: str
    arguments: Arguments
    recipe: jaxae.Recipe
    tx: optax.GradientTransformation
    points: tuple[Point, ...]
    make_state: Callable[[Batch, jax.Array], TrainState]

    def init(self) -> TrainState:
        """A fresh state, the same at every call."""
        key = jax.random.key(0, impl=self.arguments.random)
        return self.make_state(self.batch(2), key)

    def batch(self, count: int) -> dict[str, Any]:
        """Images of random bytes and what is shown beside, the same at every call."""
        random = np.random.default_rng(0)
        shape = (count, *self.arguments.shape)
        batch = {"x": random.integers(0, 256, shape, np.uint8)}
        module = self.recipe.module
        for name, form in abstract_fields(module, count).items():
            top = module.view.fields[name].categories
            size = form.shape
            values = random.integers(0, top, size) if top else random.random(size)
            batch[name] = values.astype(form.dtype)
        return batch

    def shapes(self) -> TrainState:
        """The state without its values."""
        return jax.eval_shape(self.init)


def plan(preset: str, arguments: Arguments) -> Study:
    """Checks the arguments, chooses what is not given, makes the recipe.

    Raises:
        ArgumentError: There are not so many devices, or a batch cannot be divided.
    """
    check_count("--steps", arguments.steps)
    check_count("--rounds", arguments.rounds)
    check_count("--accumulate", arguments.accumulate)
    for name, rate in (
        ("--peak-flops", arguments.peak_flops),
        ("--link-bandwidth", arguments.link_bandwidth),
    ):
        require(rate > 0, name, rate, "above 0")
    counts = _devices(arguments)
    batch_size = _batch_size(preset, arguments, counts)
    points = [
        Point(mode, count, batch_size if mode == "strong" else batch_size * count)
        for mode in arguments.modes
        for count in counts
    ]
    fits = batch_size % arguments.accumulate == 0
    expected = f"a divisor of the batch size {batch_size}"
    require(fits, "--accumulate", arguments.accumulate, expected)
    train_plan = Plan(TRAIN_SIZE, -(-TRAIN_SIZE // batch_size))
    recipe = arguments.model.recipe(arguments.shape, train_plan)
    if arguments.precision != "float32":
        recipe = compute_in(recipe, arguments.precision)
    tx = arguments.optimizer.transformation(TRAINING_STEPS)
    make_state = jax.jit(partial(init_state, recipe, tx))
    return Study(preset, arguments, recipe, tx, tuple(points), make_state)


def _devices(arguments: Arguments) -> list[int]:
    """Numbers of devices in order; a prediction is compared to one device."""
    there = len(jax.local_devices())
    if arguments.compile_only:
        given = len(arguments.devices) > 0
        ensure(given, "--devices must be given with --compile-only")
    powers = {2**i for i in range(there.bit_length())}
    counts = set(arguments.devices) or powers | {there}
    for count in sorted(counts):
        check_count("--devices", count)
        expected = f"at most {there}, the devices here; or see --simulate"
        require(count <= there, "--devices", count, expected)
    return sorted(counts | {1} if arguments.compile_only else counts)


def _batch_size(preset: str, arguments: Arguments, counts: list[int]) -> int:
    """Such that strong scaling divides it evenly."""
    parts = math.lcm(*counts) if "strong" in arguments.modes else 1
    if arguments.batch_size is None:
        return -(-PRESETS[preset].config().batch_size // parts) * parts
    check_count("--batch-size", arguments.batch_size)
    even = arguments.batch_size % parts == 0
    expected = f"a multiple of {parts} to be divided among {counts} devices"
    require(even, "--batch-size", arguments.batch_size, expected)
    return arguments.batch_size
