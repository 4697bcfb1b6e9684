"""The rows as a table, as JSON and as a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from train.run import write_json
from train.scaling.checks import Check, Row
from train.scaling.figure import draw
from train.scaling.measure import Measured
from train.scaling.predict import FORMULA
from train.scaling.program import Cost
from train.scaling.study import Study
from train.scaling.words import WORDS, percent, seconds, size
from train.tables import Columns, print_line, print_table

SIMULATED = (
    "simulated devices share this machine's cores: images/s, efficiency and the time "
    "of compiling say nothing about real ones"
)
CPU_PROGRAM = (
    "the program is the CPU's: an accelerator's may join collectives otherwise, has "
    "reduce-scatters where this one has all-reduces of divided parameters, and sends "
    "floats of less than 32 bits as they are"
)


def report(
    out: Path, study: Study, rows: Sequence[Row], checks: Sequence[Check]
) -> None:
    """Prints the table and writes scaling.json and scaling.png."""
    heading, notes = title(study), remarks(study, rows)
    columns = _columns(study)
    for mode in study.arguments.modes:
        own = [row for row in rows if row.point.mode == mode]
        cells = [[cell(row) for cell in columns.values()] for row in own]
        print_table(f"{heading}\n{WORDS[mode]}", [*columns], cells, left=-1)
    for note in notes:
        print_line(f"· {note}")
    for check in checks:
        word = "passed" if check.passed else "FAILED"
        print_line(f"check {word}, {check.name}: {check.words}")
    write_json(out / "scaling.json", summary(study, rows, checks, notes))
    draw(study, rows, heading).savefig(out / "scaling.png")
    print_line(f"-> {out / 'scaling.json'}, {out / 'scaling.png'}")


def simulated() -> bool:
    """Whether the devices are parts of one processor."""
    return jax.default_backend() == "cpu" and jax.local_device_count() > 1


def title(study: Study) -> str:
    """The preset, how it is divided, and on what."""
    where = jax.local_devices()[0].device_kind
    if study.arguments.compile_only:
        where = f"predicted for {_rates(study)}"
    elif simulated():
        where = f"simulated on {where}: speeds mean nothing"
    return f"{study.preset}, {WORDS[study.arguments.parallel]}, {where}"


def _rates(study: Study) -> str:
    peak, link = study.arguments.peak_flops, study.arguments.link_bandwidth
    return f"{peak:g} FLOP/s and {link:g} B/s per device"


def remarks(study: Study, rows: Sequence[Row]) -> list[str]:
    """What a reader of the numbers has to know."""
    notes = []
    if study.arguments.compile_only:
        notes += [
            FORMULA,
            f"stated, not measured: peak {_rates(study)}",
            "percentages are images/s per device against one device",
        ]
    else:
        notes.append(
            "images are random bytes that are on the devices already; medians of "
            f"{study.arguments.rounds} rounds of {study.arguments.steps} steps; "
            "efficiency is images/s per device against the fewest devices"
        )
        notes += [SIMULATED] if simulated() else []
    notes.append("memory, FLOPs and communication are one device's, of the program")
    if jax.default_backend() == "cpu":
        notes.append(CPU_PROGRAM)
    if any(row.cost.open_loops for row in rows):
        notes.append("a loop whose length depends on the data is counted once")
    return notes


def _communication(cost: Cost) -> str:
    """Number, kind and bytes of the collectives, a line for every kind."""
    each = [
        f"{found.count} {kind} {size(found.bytes)}"
        for kind, found in cost.collectives.items()
    ]
    return "\n".join(each) or "none"


_MEASURED: Columns = {
    "images/s": lambda row: f"{row.examples_per_second:,.0f}",
    "efficiency": lambda row: percent(row.efficiency),
    "compile": lambda row: f"{row.cost.compile_seconds:.1f} s",
}
_PREDICTED: Columns = {
    "compute": lambda row: seconds(row.compute_seconds),
    "communicate": lambda row: seconds(row.communicate_seconds),
    "step": lambda row: _share(row.step_seconds, row.efficiency),
    "overlapped": lambda row: _share(row.overlapped_seconds, row.overlapped_efficiency),
}


def _columns(study: Study) -> Columns:
    return {
        "devices": lambda row: str(row.point.devices),
        "batch": lambda row: f"{row.point.batch_size:,}",
        **(_PREDICTED if study.arguments.compile_only else _MEASURED),
        "memory": lambda row: size(row.cost.memory.peak),
        "communication": lambda row: _communication(row.cost),
    }


def _share(duration: float, efficiency: float) -> str:
    return f"{seconds(duration)} {percent(efficiency):>4}"


def summary(
    study: Study, rows: Sequence[Row], checks: Sequence[Check], notes: Sequence[str]
) -> dict[str, Any]:
    """All of it, for JSON."""
    arguments = study.arguments
    names = ["parallel", "shape", "steps", "rounds", "compile_only"]
    if arguments.compile_only:
        names += ["peak_flops", "link_bandwidth"]
    return {
        "preset": study.preset,
        "model": repr(arguments.model),
        **{name: getattr(arguments, name) for name in names},
        "device": jax.local_devices()[0].device_kind,
        "simulated": simulated(),
        "jax": jax.__version__,
        "rows": [_flat(row) for row in rows],
        "checks": [check._asdict() for check in checks],
        "notes": list(notes),
    }


def _flat(row: Row) -> dict[str, Any]:
    """A row's numbers: seconds, bytes, fractions."""
    cost, values = row.cost, row._asdict()
    del values["point"], values["cost"]
    derived = ("step_seconds", "overlapped_seconds")
    if isinstance(row, Measured):
        derived = ("examples_per_second",)
    return {
        **row.point._asdict(),
        **values,
        **{name: getattr(row, name) for name in derived},
        "compile_seconds": cost.compile_seconds,
        "flops": cost.flops,
        "memory_bytes": {**cost.memory._asdict(), "peak": cost.memory.peak},
        "collectives": {k: found._asdict() for k, found in cost.collectives.items()},
        "open_loops": cost.open_loops,
    }
