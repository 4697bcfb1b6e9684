"""What a compiled program would take on devices of stated speed: a roofline estimate.

Computing takes FLOPs / peak. Communicating takes the sum of factor · bytes / bandwidth,
where a ring of n devices has the factors 2 (n - 1) / n for an all-reduce, (n - 1) / n
for an all-gather, a reduce-scatter or an all-to-all, and 1 for a permutation (the
bandwidth terms of Thakur, Rabenseifner and Gropp 2005). A step takes their sum where
nothing overlaps, and the larger of them where all does.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from train.scaling.compiled import Collective
from train.scaling.program import Cost, compile_point
from train.scaling.study import Point, Study

FORMULA = (
    "roofline estimate: compute = FLOPs / peak; communicate = Σ factor · bytes / "
    "bandwidth with the factors of a ring of n devices, 2(n-1)/n for all-reduce, "
    "(n-1)/n for all-gather, reduce-scatter and all-to-all, 1 for permutations; "
    "a step takes their sum without overlap, the larger one with full overlap; memory "
    "traffic and latencies are left out"
)

RING: dict[str, Callable[[int], float]] = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: (n - 1) / n,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1.0,
}
"""What a device sends, per byte of the whole array."""


class Predicted(NamedTuple):
    """What is expected for a number of devices.

    Attributes:
        point: How many, and the batch.
        cost: Of the compiled program.
        compute_seconds: At the peak of the device.
        communicate_seconds: At the bandwidth of the link.
        efficiency: Images per second and device against one device, without overlap.
        overlapped_efficiency: The same with full overlap.
    """

    point: Point
    cost: Cost
    compute_seconds: float
    communicate_seconds: float
    efficiency: float
    overlapped_efficiency: float

    @property
    def step_seconds(self) -> float:
        """Without overlap."""
        return self.compute_seconds + self.communicate_seconds

    @property
    def overlapped_seconds(self) -> float:
        """With full overlap."""
        return max(self.compute_seconds, self.communicate_seconds)


def predict(study: Study) -> list[Predicted]:
    """Compiles every point of the study; of a mode the first has one device."""
    rows, alone = [], 0.0
    peak, link = study.arguments.peak_flops, study.arguments.link_bandwidth
    for point in study.points:
        cost = compile_point(study, point).cost
        compute = cost.flops / peak
        communicate = ring_seconds(cost.collectives, point.devices, link)
        images = point.batch_size / point.devices
        if point.devices == 1:
            alone = compute / images
        steps = (compute + communicate, max(compute, communicate))
        shares = (alone * images / step for step in steps)
        rows.append(Predicted(point, cost, compute, communicate, *shares))
    return rows


def ring_seconds(
    moved: Mapping[str, Collective], devices: int, bandwidth: float
) -> float:
    """All collectives of a step, one after the other; latencies are left out."""
    sent = sum(RING[kind](devices) * each.bytes for kind, each in moved.items())
    return sent / bandwidth
