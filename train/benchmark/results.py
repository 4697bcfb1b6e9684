"""What was measured, and what follows from it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from train.benchmark.cases import Case

REFERENCE = "jaxae"


class Round(NamedTuple):
    """One round of a peer.

    Attributes:
        seconds: From the start of the round to its result; where starts are timed, from
            the command to the end of the first epoch, at the second start.
        loss: Mean over the round.
        peak_bytes: Of the process so far.
        device_peak_bytes: Of an accelerator so far.
    """

    seconds: float
    loss: float
    peak_bytes: int
    device_peak_bytes: int | None


class Start(NamedTuple):
    """Seconds from the command to the end of the first step, and of the first epoch."""

    step: float
    epoch: float


class Spread(NamedTuple):
    """Over the rounds."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The median and the extremes."""
    return Spread(statistics.median(values), min(values), max(values))


@dataclass
class Result:
    """A peer in a case, while it is measured.

    Attributes:
        case: The case.
        peer: Its name.
        parameters: Of its model; None before it is ready.
        rounds: So far.
        first_starts: With an empty cache of compiled programs.
        second_starts: With what the first start left there.
        failed: Why it is left out.
    """

    case: Case
    peer: str
    parameters: int | None = None
    rounds: list[Round] = field(default_factory=list)
    first_starts: list[Start] = field(default_factory=list)
    second_starts: list[Start] = field(default_factory=list)
    failed: str | None = None

    @property
    def speed(self) -> Spread:
        """Images per second."""
        return spread([self.case.images / each.seconds for each in self.rounds])

    def row(self, reference: "Result | None", peak: float) -> dict[str, Any]:
        """All of it for JSON; `peak` is that of a matrix product, in FLOP/s."""
        named = {"case": self.case.name, "peer": self.peer}
        if self.failed is not None:
            return {**named, "failed": self.failed}
        last = self.rounds[-1]
        return {
            **named,
            "parameters": self.parameters,
            "images": self.case.images,
            "batch_size": self.case.batch_size,
            "seconds": [each.seconds for each in self.rounds],
            "examples_per_second": self.speed._asdict(),
            "ratio": reference and ratio(reference, self)._asdict(),
            "loss": last.loss,
            "flops_per_image": self.case.flops,
            "share_of_peak": self.case.flops * self.speed.median / peak,
            "peak_bytes": max(each.peak_bytes for each in self.rounds),
            "device_peak_bytes": last.device_peak_bytes,
            **self._starts(),
        }

    def _starts(self) -> dict[str, Any]:
        return {
            f"{name}_{part}_seconds": spread(
                [getattr(s, part) for s in starts]
            )._asdict()
            for name in ("first", "second")
            if (starts := getattr(self, f"{name}_starts"))
            for part in Start._fields
        }


def ratio(reference: Result, other: Result) -> Spread:
    """How many times as fast the reference is, round by round."""
    pairs = zip(reference.rounds, other.rounds, strict=True)
    return spread([theirs.seconds / ours.seconds for ours, theirs in pairs])


def find_reference(results: Sequence[Result]) -> Result | None:
    """jaxae's result, where there is one."""
    sound = (each for each in results if each.failed is None)
    return next((each for each in sound if each.peer == REFERENCE), None)


def check_models(results: Sequence[Result]) -> None:
    """Fails whoever has another number of parameters than jaxae."""
    ours = find_reference(results)
    if ours is None:
        return
    for each in results:
        if each.failed is None and each.parameters != ours.parameters:
            each.failed = (
                f"not the same model: {each.parameters:,} parameters, where jaxae has "
                f"{ours.parameters:,}"
            )
