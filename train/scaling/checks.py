"""What must hold on any devices, also where speeds mean nothing."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import jax
import numpy as np

from train.scaling.compiled import Collective
from train.scaling.measure import Measured
from train.scaling.predict import Predicted
from train.scaling.study import Study
from train.scaling.words import size

RELATIVE = 1e-5
"""Largest difference between the losses of a step on different numbers of devices."""

SLACK = 2**16
"""Bytes that a step may all-reduce beside the gradient, as the mean loss."""

Row = Measured | Predicted


class Check(NamedTuple):
    """One of them, with what came out."""

    name: str
    passed: bool
    words: str


def check(study: Study, rows: Sequence[Row]) -> list[Check]:
    """Those that can be made with these rows."""
    checks = []
    measured = [row for row in rows if isinstance(row, Measured)]
    by_batch = sorted(measured, key=lambda row: row.point.batch_size)
    for batch, same in groupby(by_batch, key=lambda row: row.point.batch_size):
        losses = {row.point.devices: row.loss for row in same}
        if len(losses) > 1:
            checks.append(_same_losses(batch, losses))
    several = [row for row in rows if row.point.devices > 1]
    if several and study.arguments.parallel == "data":
        checks.append(_gradient_alone(study, several))
    return checks


def _same_losses(batch: int, losses: dict[int, float]) -> Check:
    """The first step of the same batch, on several numbers of devices."""
    values = np.array(list(losses.values()))
    difference = float(np.ptp(values) / np.abs(values).max())
    words = (
        f"the first step of a batch of {batch} has losses within {difference:.1e} of "
        f"each other on {', '.join(map(str, losses))} devices (at most {RELATIVE:g})"
    )
    return Check("losses", difference <= RELATIVE, words)


def _gradient_alone(study: Study, rows: Sequence[Row]) -> Check:
    """Data parallelism sums the gradient and little else, whatever the batch.

    A parameter that the loss depends on in two ways may have its gradient summed in
    two parts. An objective that compares the codes of a batch with each other needs
    more with every image, but less than the image has.
    """
    state = study.shapes()
    parameters, collections = _bytes(state.params), _bytes(state.collections)
    parts = study.arguments.accumulate
    none, image = Collective(0, 0), math.prod(study.arguments.shape)
    found = [row.cost.collectives.get("all-reduce", none).bytes for row in rows]
    least, most = min(found), max(found)

    def right(row: Row, moved: int) -> bool:
        # Every part of a batch sends its own gradient.
        beside = (SLACK + row.point.batch_size * image) * parts
        bounded = 0 < moved <= (2 * parameters + collections) * parts + beside
        return bounded and moved - least <= beside

    spread = f"from {size(least)} to {size(most)}" if most > least else size(most)
    words = (
        f"a step all-reduces {spread}, {most / parameters:.3f} times the parameters' "
        f"{size(parameters)}, for these devices and batches"
    )
    passed = all(map(right, rows, found))
    return Check("all-reduced bytes", passed, words)


def _bytes(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
