"""What came out beside what was published: as JSON, and as the table of the page."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxae
from jaxae.errors import ensure
from train.reproduce.protocol import Outcome
from train.reproduce.rows import ROWS, Row

RESULTS = Path(__file__).parent / "results"
"""What the rows reached that were run, in full or as far as they say."""
PAGE = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- reproduced: begin -->", "<!-- reproduced: end -->"


def as_json(
    name: str, row: Row, seeds: Sequence[int], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """All about the runs of a row; the value is the mean over their seeds."""
    values = [outcome.value for outcome in outcomes]
    several = {}
    if len(values) > 1:
        several = {"values": values, "std": float(np.std(values, ddof=1))}
    value = float(np.mean(values))
    return {
        "row": name,
        "about": row.about,
        "value": value,
        **several,
        "beside": {
            name: float(np.mean([outcome.beside[name] for outcome in outcomes]))
            for name in outcomes[0].beside
        },
        "reference": row.published,
        "tolerance": row.tolerance,
        "within": abs(value - row.published) <= row.tolerance,
        "unit": row.unit,
        "shortened": _shortened([outcome.shortened for outcome in outcomes]),
        "source": row.source,
        "notes": row.notes,
        "seeds": list(seeds),
        "seconds": sum(outcome.seconds for outcome in outcomes),
        "machine": machine(),
        "versions": {"jaxae": jaxae.__version__, "jax": jax.__version__},
        "configuration": outcomes[0].configuration,
    }


def _shortened(each: Sequence[str | None]) -> str | None:
    """What was left out, of each seed where they were not cut off alike."""
    if len(set(each)) == 1:
        return each[0]
    return ", ".join(words or "all" for words in each)


def machine() -> str:
    """What ran it, in words."""
    kind = jax.devices()[0].device_kind
    allowed = getattr(os, "sched_getaffinity", None)  # of which there is none on macOS
    cores = len(allowed(0)) if allowed else os.cpu_count()
    return f"{kind}, {cores} cores ({platform.machine()})"


def beside(result: Mapping[str, Any]) -> str:
    """A line: ours, and what was published."""
    shortened = f"; SHORTENED: {result['shortened']}" if result["shortened"] else ""
    place = "within" if result["within"] else "not within"
    notes = f"\n{result['notes']}" if result["notes"] else ""
    return (
        f"{result['about']}: {_value(result)}, published {result['reference']:g} "
        f"({place} {result['tolerance']:g}; {result['unit']}{_others(result)})"
        f"{shortened}{notes}"
    )


def table(folder: Path = RESULTS) -> str:
    """All results in a folder, in the order of the rows, as Markdown."""
    files = [folder / f"{name}.json" for name in ROWS]
    found = [json.loads(file.read_text("utf-8")) for file in files if file.exists()]
    lines = [
        "| row | what | ours | published | tolerance | within |",
        "|---|---|---|---|---|---|",
    ]
    for result in found:
        shortened = f", shortened to {result['shortened']}" * bool(result["shortened"])
        what = f"[{result['about']}]({result['source'].partition(',')[0]})"
        cells = (
            f"`{result['row']}`",
            f"{what}; {result['unit']}{_others(result)}{shortened}",
            f"**{_value(result)}**",
            f"{result['reference']:g}",
            f"{result['tolerance']:g}",
            ("yes" if result["within"] else "no") + ", shortened" * bool(shortened),
        )
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"- `{each['row']}`: {each['notes']}" for each in found if each["notes"]]
    return "\n".join([*lines, "", *notes])


def write_page() -> None:
    """Puts the table where the page has it."""
    text = PAGE.read_text("utf-8")
    ensure(BEGIN in text and END in text, f"{PAGE} has no place for the table")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", "utf-8")


def _value(result: Mapping[str, Any]) -> str:
    spread = f" ± {_digits(result['std'], result)}" if "std" in result else ""
    return f"{_digits(result['value'], result)}{spread}"


def _others(result: Mapping[str, Any]) -> str:
    numbers = result.get("beside", {}).items()
    return "".join(f"; {name} {_digits(number, result)}" for name, number in numbers)


def _digits(number: float, result: Mapping[str, Any]) -> str:
    """As many as the published one has, and one more."""
    digits = len(f"{result['reference']}".partition(".")[2]) + 1
    return f"{number:.{digits}f}"
