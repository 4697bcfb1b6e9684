"""The results as a table, as JSON and as a figure."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from train.benchmark.figure import draw
from train.benchmark.results import REFERENCE, Result, find_reference
from train.run import write_json

WIDTH = 110
"""Columns of the table in a file."""
_RATIO = f"{REFERENCE} is"
COLUMNS = ("images/s", "range", _RATIO, "loss", "of peak", "memory", "device")
STARTS = ("first step", "epoch", "step again", "epoch again", _RATIO)


def show(results: Sequence[Sequence[Result]], peaks: Sequence[float]) -> None:
    """Prints a table for every case.

    Args:
        results: Of every case, by peer.
        peaks: FLOP/s of matrix products, before and after.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for case in results:
        rows = case_rows(case, max(peaks))
        if rows:
            console.print(table(case[0].case.words, rows))
        for row in rows:
            if "failed" in row:
                line = f"{row['peer']} failed: {row['failed']}"
                console.print(line, markup=False, highlight=False)
    before, after = (f"{value / 1e9:,.0f}" for value in peaks)
    console.print(f"peak of a float32 product: {before} GFLOP/s before, {after} after")


def write(
    out: Path, results: Sequence[Sequence[Result]], peaks: Sequence[float]
) -> None:
    """Writes benchmark.json and benchmark.png into an existing directory."""
    rows = [row for case in results for row in case_rows(case, max(peaks))]
    machine = {"processor": platform.processor(), "threads": os.cpu_count()}
    made = {"machine": machine, "peak_flops": list(peaks), "rows": rows}
    write_json(out / "benchmark.json", made)
    if any("failed" not in row for row in rows):
        draw(rows).savefig(out / "benchmark.png")


def case_rows(results: Sequence[Result], peak: float) -> list[dict[str, Any]]:
    """One row for every peer."""
    ours = find_reference(results)
    return [each.row(ours, peak) for each in results]


def table(words: str, rows: Sequence[dict[str, Any]]) -> Table:
    """One line for every peer."""
    made = Table(title=words, title_justify="left", box=SIMPLE)
    made.add_column("")
    starts = any("first_epoch_seconds" in row for row in rows)
    for name in STARTS if starts else COLUMNS:
        made.add_column(name, justify="right")
    for row in rows:
        if "failed" in row:
            made.add_row(row["peer"], "failed")
        else:
            made.add_row(row["peer"], *(_starts(row) if starts else _speeds(row)))
    return made


def _speeds(row: dict[str, Any]) -> tuple[str, ...]:
    speed = row["images_per_second"]
    return (
        _number(speed["median"]),
        f"{_number(speed['low'])} to {_number(speed['high'])}",
        _ratio(row),
        f"{row['loss']:.2f}",
        f"{row['share_of_peak']:.1%}",
        _bytes(row["peak_bytes"]),
        _bytes(row["device_peak_bytes"]),
    )


def _starts(row: dict[str, Any]) -> tuple[str, ...]:
    seconds = (
        f"{row[f'{start}_{part}_seconds']['median']:.1f} s"
        for start in ("first", "second")
        for part in ("step", "epoch")
    )
    return (*seconds, _ratio(row))


def _ratio(row: dict[str, Any]) -> str:
    return f"{row['ratio']['median']:.2f} x" if row["ratio"] else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _bytes(value: int | None) -> str:
    return "" if value is None else f"{value / 2**20:,.0f} MiB"
