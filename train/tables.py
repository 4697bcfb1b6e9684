"""Tables of results on the terminal, and lines below them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

Columns = Mapping[str, Callable[[Any], str]]
"""By their names, from what a row shows to its cell."""

WIDTH = 110
"""Columns of what goes to a file."""


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], left: int = 0
) -> None:
    """Prints cells, aligned to the right but for those of the column `left`."""
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for name in columns:
        table.add_column(name, justify="left" if name == columns[left] else "right")
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def print_line(text: str) -> None:
    """Prints a text as it is, folded where the tables end."""
    _console().print(text, markup=False, highlight=False)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)
