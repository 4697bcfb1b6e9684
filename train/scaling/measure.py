"""Running the steps on the devices that there are."""

import statistics
import time
from typing import NamedTuple

import jax

from train.scaling.program import Cost, Program, compile_point
from train.scaling.study import Point, Study


class Measured(NamedTuple):
    """What was found for a number of devices.

    Attributes:
        point: How many, and the batch.
        cost: What is known without a run.
        loss: Of the first step, in nats per image unless the family says otherwise.
        step_seconds: Median over the rounds.
        efficiency: Images per second and device, against the fewest devices.
    """

    point: Point
    cost: Cost
    loss: float
    step_seconds: float
    efficiency: float

    @property
    def examples_per_second(self) -> float:
        """What all devices do together."""
        return self.point.batch_size / self.step_seconds


def measure(study: Study) -> list[Measured]:
    """Runs every point of the study, in rounds over all of a mode."""
    rows = []
    for mode in study.arguments.modes:
        rows += _measure_mode(study, [p for p in study.points if p.mode == mode])
    return rows


def _measure_mode(study: Study, points: list[Point]) -> list[Measured]:
    runs = [_Run(study, compile_point(study, point)) for point in points]
    # In turn, so that what else the machine does hits all of them alike.
    for _ in range(study.arguments.rounds):
        for run in runs:
            run.round(study.arguments.steps)
    seconds = [statistics.median(run.seconds) for run in runs]
    share = [s * p.devices / p.batch_size for s, p in zip(seconds, points, strict=True)]
    return [
        Measured(point, run.cost, run.loss, step, share[0] / own)
        for point, run, step, own in zip(points, runs, seconds, share, strict=True)
    ]


class _Run:
    """A program with its state, which moves on at every step."""

    def __init__(self, study: Study, program: Program):
        self.cost, self.seconds = program.cost, []
        self._compiled = program.compiled
        self._state, self._batch = program.inputs(study)
        self.loss = self._steps(1)

    def round(self, steps: int) -> None:
        """Adds the seconds of a step, mean over some of them."""
        start = time.perf_counter()
        self._steps(steps)
        self.seconds.append((time.perf_counter() - start) / steps)

    def _steps(self, count: int) -> float:
        """The loss of the last one, once it is there."""
        metrics = {}
        for _ in range(count):
            self._state, metrics = self._compiled(self._state, self._batch)
        jax.block_until_ready(self._state)
        return float(metrics["loss"])
