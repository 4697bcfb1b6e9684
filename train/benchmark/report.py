"""The results as a table, as JSON and as a figure."""

import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from train.benchmark.figure import draw
from train.benchmark.results import REFERENCE, Result, find_reference
from train.run import write_json
from train.tables import Columns, print_line, print_table

Row = dict[str, Any]


def show(results: Sequence[Sequence[Result]], peaks: Sequence[float]) -> None:
    """Prints a table for every case.

    Args:
        results: Of every case, by peer.
        peaks: FLOP/s of matrix products, before and after.
    """
    for case in results:
        rows = case_rows(case, max(peaks))
        if rows:
            starts = any("first_epoch_seconds" in row for row in rows)
            columns = _STARTS if starts else _SPEEDS
            cells = [_cells(row, columns) for row in rows]
            print_table(case[0].case.words, ["", *columns], cells)
        for row in rows:
            if "failed" in row:
                print_line(f"{row['peer']} failed: {row['failed']}")
    before, after = (f"{value / 1e9:,.0f}" for value in peaks)
    print_line(f"peak of a float32 product: {before} GFLOP/s before, {after} after")


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


def case_rows(results: Sequence[Result], peak: float) -> list[Row]:
    """One row for every peer."""
    ours = find_reference(results)
    return [each.row(ours, peak) for each in results]


def _cells(row: Row, columns: Columns) -> list[str]:
    if "failed" in row:
        return [row["peer"], "failed"]
    return [row["peer"], *(cell(row) for cell in columns.values())]


def _speed(row: Row, *which: str) -> str:
    values = (row["examples_per_second"][name] for name in which)
    return " to ".join(f"{v:,.0f}" if v >= 100 else f"{v:.1f}" for v in values)


def _seconds(start: str) -> Callable[[Row], str]:
    return lambda row: f"{row[f'{start}_seconds']['median']:.1f} s"


def _bytes(value: int | None) -> str:
    return "" if value is None else f"{value / 2**20:,.0f} MiB"


_RATIO: Columns = {
    f"{REFERENCE} is": lambda row: (
        f"{row['ratio']['median']:.2f} x" if row["ratio"] else ""
    )
}
_SPEEDS: Columns = {
    "images/s": lambda row: _speed(row, "median"),
    "range": lambda row: _speed(row, "low", "high"),
    **_RATIO,
    "loss": lambda row: f"{row['loss']:.2f}",
    "of peak": lambda row: f"{row['share_of_peak']:.1%}",
    "memory": lambda row: _bytes(row["peak_bytes"]),
    "device": lambda row: _bytes(row["device_peak_bytes"]),
}
_STARTS: Columns = {
    "first step": _seconds("first_step"),
    "epoch": _seconds("first_epoch"),
    "step again": _seconds("second_step"),
    "epoch again": _seconds("second_epoch"),
    **_RATIO,
}
