"""The scores as a table and as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxae.plotting.style import (
    BLUE,
    INK,
    ORANGE,
    TEXT,
    TITLE,
    label_axes,
    new_figure,
    style_axes,
)
from train.tables import print_line, print_table

TITLES = {
    "mig": "MIG",
    "sap": "SAP",
    "factor_vae_score": "FactorVAE score",
    "disentanglement": "DCI disentanglement",
    "completeness": "DCI completeness",
    "informativeness": "DCI informativeness",
    "linear_probe": "linear probe",
    "knn_accuracy": "nearest neighbours",
    "distortion_nats": "distortion in nats",
}
COLUMNS = 3
NATS = {"distortion_nats"}  # of which less is best; the others are between 0 and 1


def report(out: Path, study: Mapping[str, Any]) -> None:
    """Prints the table and writes scores.png."""
    print_table(heading(study), ["", *study["methods"]], table(study))
    several = ", mean ± standard deviation over the seeds" * (study["seeds"] > 1)
    print_line(
        f"scores in hundredths{several}; of the distortion, in nats, less is best"
    )
    draw(study).savefig(out / "scores.png")
    print_line(f"-> {out / 'scores.json'}, {out / 'scores.png'}")


def table(study: Mapping[str, Any]) -> list[list[str]]:
    """A row for every score: its name, and what each family has."""
    rows = []
    for name, title in TITLES.items():
        unit = 1.0 if name in NATS else 0.01
        scores = [each["scores"][name] for each in study["methods"].values()]
        rows.append([title, *(words(each, unit) for each in scores)])
    return rows


def words(values: Sequence[float], unit: float) -> str:
    """The mean ± the standard deviation of a sample, if there are several."""
    mean = f"{np.mean(values) / unit:.1f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {np.std(values, ddof=1) / unit:.1f}"


def heading(study: Mapping[str, Any]) -> str:
    """What was done."""
    return (
        f"{study['data']}: {study['train_size']:,} training pictures, "
        f"{study['scored']:,} scored, "
        f"{study['epochs']} epochs, {study['seeds']} seed{'s' * (study['seeds'] > 1)}"
    )


def draw(study: Mapping[str, Any]) -> Figure:
    """A panel for every score, in it a row for every family."""
    methods = study["methods"]
    count = -(-len(TITLES) // COLUMNS)
    figure = new_figure(7.6, count * (0.75 + 0.2 * len(methods)) + 0.7)
    figure.suptitle(heading(study), size=TITLE, color=INK, x=0.01, ha="left")
    panels = figure.subplots(count, COLUMNS, sharey=True).flat
    for axes, (name, title) in zip(panels, TITLES.items(), strict=True):
        scores = [each["scores"][name] for each in methods.values()]
        _panel(axes, scores, f"{title} {'←' if name in NATS else '→'}")
        axes.set_yticks(range(len(methods)), list(methods))
    axes.set_ylim(len(methods) - 0.5, -0.5)
    figure.legend(
        *axes.get_legend_handles_labels(),
        title="arrows point to what is better",
        loc="outside lower left",
        ncols=3,
        alignment="left",
        fontsize=TEXT,
        title_fontsize=TEXT,
        labelcolor=INK,
        edgecolor="white",
    )
    return figure


def _panel(axes: Axes, scores: Sequence[Sequence[float]], title: str) -> None:
    """Every seed a point, their mean a line across, ± one standard deviation."""
    style_axes(axes)
    places = np.arange(len(scores))
    values = np.array(scores)
    means = values.mean(axis=1)
    if values.shape[1] > 1:
        deviations = values.std(axis=1, ddof=1)
        axes.hlines(
            places,
            means - deviations,
            means + deviations,
            color=ORANGE,
            linewidth=1.5,
            label="± standard deviation",
        )
    axes.plot(means, places, "|", color=ORANGE, markersize=9, mew=2, label="mean")
    repeated = np.repeat(places, values.shape[1])
    points = {"color": BLUE, "markersize": 3, "alpha": 0.6, "label": "a seed"}
    axes.plot(values.ravel(), repeated, "o", **points)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    label_axes(axes, title=title)
