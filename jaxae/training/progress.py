"""Progress: a live bar in a terminal or a notebook, plain lines elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Report = Callable[[int, Mapping[str, int | float]], None]


@contextmanager
def progress_log(epochs: int, *, enabled: bool = True) -> Iterator[Report]:
    """Yields report(epoch, metrics), to be called after every epoch."""
    console = Console()
    # Without its widgets a notebook shows a warning in place of the bar.
    widgets = console.is_jupyter and find_spec("ipywidgets") is not None
    if not enabled:
        yield lambda epoch, metrics: None
    elif not (widgets or (console.is_terminal and not console.is_jupyter)):
        yield lambda epoch, metrics: print(
            f"epoch {epoch}/{epochs}  {summary(metrics)}", flush=True
        )
    else:
        columns = (
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=epochs, metrics="compiling")
            yield lambda epoch, metrics: bar.update(
                task, completed=epoch, metrics=summary(metrics)
            )


def summary(metrics: Mapping[str, int | float]) -> str:
    """The loss, the validation loss and the speed, in one line."""
    shown = {
        "loss": ("loss", ".4f"),
        "validation_loss": ("validation", ".4f"),
        "examples_per_second": ("examples/s", ",.0f"),
    }
    return "  ".join(
        f"{label} {metrics[name]:{form}}"
        for name, (label, form) in shown.items()
        if name in metrics
    )
