"""The report of a run: its pictures, and one page that holds them all.

The page has no script and asks no server for anything; it can be mailed as it is.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

import jaxae
from train.data.types import Split
from train.report.page import render_page, write_picture
from train.report.pictures import make_pictures
from train.report.words import summary, title


def write_report(
    run: Path,
    model: jaxae.Model,
    test: Split,
    *,
    config: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    result: Mapping[str, Any],
    key: jax.Array,
    generated: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> None:
    """Writes `report.html` and its pictures (PNG) into the folder of a run.

    Args:
        run: The folder, which exists.
        model: The trained model.
        test: The images to show, the first ones of them, and to encode.
        config: What the run was started with: the fields of `train.config.Config`,
            and "preset", which the command to run it again starts with.
        history: As in `jaxae.Fit.history`.
        result: The final numbers by name; None where there is none.
        key: A typed key: damage, binarisation and samples follow from it.
        generated: Images by the name of the sampler that made them.
    """
    pictures = make_pictures(model, test, history, key, generated)
    page = render_page(
        title(model, config),
        summary(model, test, config, history, result.get("evaluated_on")),
        [write_picture(run, picture) for picture in pictures],
        config=config,
        result=result,
    )
    # Names of files may hold bytes that are no text.
    errors = "backslashreplace"
    (run / "report.html").write_text(page, encoding="utf-8", errors=errors)
