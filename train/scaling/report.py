"""The rows as a table, as JSON and as a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from train.run import write_json
from train.scaling.arguments import Mode
from train.scaling.checks import Check, Row
from train.scaling.figure import draw
from train.scaling.measure import Measured
from train.scaling.predict import FORMULA
from train.scaling.program import Cost
from train.scaling.study import Study
from train.scaling.words import percent, seconds, size

WORDS = {
    "data": "data parallel",
    "fsdp": "fully sharded",
    "strong": "strong scaling: the batch stays",
    "weak": "weak scaling: the batch per device stays",
}
WIDTH = 110
"""Columns of the table in a file."""

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
    """Writes scaling.json and scaling.png, and prints the table."""
    notes = remarks(study, rows)
    write_json(out / "scaling.json", summary(study, rows, checks, notes))
    draw(study, rows, simulated()).savefig(out / "scaling.png")
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for mode in study.arguments.modes:
        own = [row for row in rows if row.point.mode == mode]
        console.print(table(study, mode, own))
    for note in notes:
        console.print(f"· {note}", markup=False, highlight=False)
    for check in checks:
        word = "passed" if check.passed else "FAILED"
        line = f"check {word}, {check.name}: {check.words}"
        console.print(line, markup=False, highlight=False)
    console.print(f"-> {out / 'scaling.json'}, {out / 'scaling.png'}", markup=False)


def simulated() -> bool:
    """Whether the devices are parts of one processor."""
    return jax.default_backend() == "cpu" and jax.local_device_count() > 1


def title(study: Study, mode: Mode) -> str:
    """The preset, how it is divided, and on what."""
    where = jax.local_devices()[0].device_kind
    if study.arguments.compile_only:
        where = "nothing was run"
    elif simulated():
        where = f"simulated on {where}: speeds mean nothing"
    return f"{study.preset}, {WORDS[study.arguments.parallel]}, {where}\n{WORDS[mode]}"


def remarks(study: Study, rows: Sequence[Row]) -> list[str]:
    """What a reader of the numbers has to know."""
    notes = []
    if study.arguments.compile_only:
        peak, link = study.arguments.peak_flops, study.arguments.link_bandwidth
        notes += [
            FORMULA,
            f"stated, not measured: peak {peak:g} FLOP/s and {link:g} B/s per device",
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


def table(study: Study, mode: Mode, rows: Sequence[Row]) -> Table:
    """One line per number of devices."""
    made = Table(title=title(study, mode), title_justify="left", box=SIMPLE)
    predicted = ("compute", "communicate", "step", "overlapped")
    measured = ("images/s", "efficiency", "compile")
    own = predicted if study.arguments.compile_only else measured
    for name in ("devices", "batch", *own, "memory"):
        made.add_column(name, justify="right")
    made.add_column("communication")
    for row in rows:
        made.add_row(
            str(row.point.devices),
            f"{row.point.batch_size:,}",
            *_own_cells(row),
            size(row.cost.memory.peak),
            communication(row.cost),
        )
    return made


def _own_cells(row: Row) -> tuple[str, ...]:
    """Of the columns that only one of the two kinds has."""
    if isinstance(row, Measured):
        return (
            f"{row.images_per_second:,.0f}",
            percent(row.efficiency),
            f"{row.cost.compile_seconds:.1f} s",
        )
    return (
        seconds(row.compute_seconds),
        seconds(row.communicate_seconds),
        f"{seconds(row.step_seconds)} {percent(row.efficiency):>4}",
        f"{seconds(row.overlapped_seconds)} {percent(row.overlapped_efficiency):>4}",
    )


def communication(cost: Cost) -> str:
    """Number, kind and bytes of the collectives, a line for every kind."""
    each = [
        f"{found.count} {kind} {size(found.bytes)}"
        for kind, found in cost.collectives.items()
    ]
    return "\n".join(each) or "none"


def summary(
    study: Study, rows: Sequence[Row], checks: Sequence[Check], notes: Sequence[str]
) -> dict[str, Any]:
    """All of it, for JSON."""
    arguments = study.arguments
    asked = {
        name: getattr(arguments, name)
        for name in ("parallel", "shape", "steps", "rounds", "compile_only")
    }
    if arguments.compile_only:
        asked["peak_flops"] = arguments.peak_flops
        asked["link_bandwidth"] = arguments.link_bandwidth
    return {
        "preset": study.preset,
        "model": repr(arguments.model),
        **asked,
        "device": jax.local_devices()[0].device_kind,
        "simulated": simulated(),
        "jax": jax.__version__,
        "rows": [_flat(row) for row in rows],
        "checks": [check._asdict() for check in checks],
        "notes": list(notes),
    }


def _flat(row: Row) -> dict[str, Any]:
    """A row's numbers: seconds, bytes, fractions."""
    cost = row.cost
    values = row._asdict()
    del values["point"], values["cost"]
    if isinstance(row, Measured):
        values["images_per_second"] = row.images_per_second
    else:
        values["step_seconds"] = row.step_seconds
        values["overlapped_seconds"] = row.overlapped_seconds
    return {
        **row.point._asdict(),
        **values,
        "compile_seconds": cost.compile_seconds,
        "flops": cost.flops,
        "memory_bytes": {**cost.memory._asdict(), "peak": cost.memory.peak},
        "collectives": {k: found._asdict() for k, found in cost.collectives.items()},
        "open_loops": cost.open_loops,
    }
