"""Mean and standard deviation over the seeds of every result."""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from train.members import Members
from train.run import Run, write_json

Numbers = dict[str, float]

# What was asked for, not what came of it.
_SETTINGS = ("seed", "parameters", "epochs", "data", "preset", "device", "jax_version")


def write_summary(run: Run, members: Members) -> dict[str, Any]:
    """Writes summary.json from the members' results, and prints it as a table.

    The standard deviation is that of a sample (n - 1), and absent for one seed. Numbers
    that are not finite are left out of both, as `n` says. A member without a result, as
    no epoch of its was finite, is counted as diverged.
    """
    sweep = members.sweep
    groups = [members.runs]
    if sweep is not None:
        count = len(members.runs) // len(sweep.values)
        groups = [members.runs[i * count :][:count] for i in range(len(sweep.values))]
    names = [f"{value:g}" for value in sweep.values] if sweep else ["all"]
    summary = {
        "option": sweep.option if sweep else None,
        "groups": {
            name: _group(runs) for name, runs in zip(names, groups, strict=True)
        },
    }
    write_json(run.path / "summary.json", summary)
    _print(summary)
    return summary


def _group(runs: Sequence[Run]) -> dict[str, Any]:
    written = [run.result for run in runs if run.result.exists()]
    results = [json.loads(path.read_text("utf-8")) for path in written]
    numbers = [
        {k: v for k, v in result.items() if _is_number(k, v)} for result in results
    ]
    names = dict.fromkeys(name for each in numbers for name in each)
    return {
        "members": [run.path.name for run in runs],
        "diverged": len(runs) - len(results),
        "results": {
            name: _moments([each[name] for each in numbers if name in each])
            for name in names
        },
    }


def _is_number(name: str, value: Any) -> bool:
    return isinstance(value, int | float) and name not in _SETTINGS


def _moments(values: Sequence[float]) -> Numbers:
    moments = {"n": len(values), "mean": statistics.fmean(values)}
    if len(values) > 1:
        moments["sd"] = statistics.stdev(values)
    return moments


def _print(summary: Mapping[str, Any]) -> None:
    groups = summary["groups"]
    several = max(len(group["members"]) for group in groups.values()) > 1
    title = "mean ± standard deviation over the seeds" if several else "one seed each"
    table = Table(title=title)
    table.add_column(summary["option"] or "")
    for name in groups:
        table.add_column("" if name == "all" else name, justify="right")
    for name in dict.fromkeys(n for group in groups.values() for n in group["results"]):
        cells = [_cell(group["results"].get(name)) for group in groups.values()]
        table.add_row(name, *cells)
    table.add_row("trainings", *[_count(group) for group in groups.values()])
    Console().print(table)


def _cell(moments: Numbers | None) -> str:
    if moments is None:
        return "–"
    spread = f" ± {moments['sd']:.2g}" if "sd" in moments else ""
    return f"{moments['mean']:,.6g}{spread}"


def _count(group: Mapping[str, Any]) -> str:
    lost = f", {group['diverged']} diverged" if group["diverged"] else ""
    return f"{len(group['members'])}{lost}"
