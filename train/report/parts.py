"""Pictures of what a family has of its own: codebooks, atoms, latent dimensions."""

from collections.abc import Iterator

import numpy as np

import jaxae
from jaxae import plotting
from jaxae.networks.dictionary import Dictionary
from jaxae.plotting.images import dimension_name
from jaxae.priors import VampPrior
from train.data.types import Split
from train.report.picture import MAX_CODES, SIDE, Picture, encoded


def part_pictures(model: jaxae.Model, test: Split) -> Iterator[Picture]:
    """Those that the parts of the model have."""
    module = model.module
    if module.num_codes:
        yield _code_usage(model, test)
    if len(module.shape) != 3 or not isinstance(module, jaxae.AutoEncoder):
        return
    if isinstance(module.decoder, Dictionary):
        yield _atoms(model, test)
    if isinstance(module.prior, VampPrior):
        yield _pseudo_inputs(model)
    if module.generative and not module.view.needs:
        yield _traversals(model, test)


def _code_usage(model: jaxae.Model, test: Split) -> Picture:
    module = model.module
    codes = np.asarray(encoded(model, test, MAX_CODES))
    books = codes.reshape(-1, module.num_codebooks).T
    counts = [np.bincount(book, minlength=module.num_codes) for book in books]
    caption = (
        f"How often each of the {module.num_codes:,} codes occurs in the codes of "
        f"{len(codes):,} test examples, the most frequent first. The broken line is "
        "where all of them would be if they were used alike."
    )
    figure = plotting.code_usage(counts)
    return Picture("code_usage", "Use of the codebook", caption, figure)


def _atoms(model: jaxae.Model, test: Split) -> Picture:
    codes = np.asarray(encoded(model, test, MAX_CODES))
    busiest = np.argsort(-(codes != 0).mean(axis=0), kind="stable")[: SIDE**2]
    atoms = np.asarray(model.variables["params"]["decoder"]["atoms"])[busiest]
    atoms = atoms / np.abs(atoms).max(axis=1, keepdims=True)
    caption = (
        f"The {len(atoms)} atoms that most test images use, the most used first: what "
        "each adds to the image. Grey is nothing, white adds light, black takes it."
    )
    images = (1 + atoms.reshape(-1, *model.module.shape)) / 2
    return Picture("atoms", "Atoms", caption, plotting.image_grid(images, SIDE))


def _pseudo_inputs(model: jaxae.Model) -> Picture:
    inputs = model.variables["params"]["prior"]["pseudo_inputs"][: SIDE**2]
    caption = (
        f"{len(inputs)} of the learned inputs whose posteriors are the prior's parts."
    )
    figure = plotting.image_grid(np.clip(np.asarray(inputs), 0, 1), SIDE)
    return Picture("pseudo_inputs", "Pseudo-inputs", caption, figure)


def _traversals(model: jaxae.Model, test: Split) -> Picture:
    codes = np.asarray(encoded(model, test, MAX_CODES))
    busiest = np.argsort(-codes.std(axis=0), kind="stable")[:SIDE]
    shares = np.linspace(0.01, 0.99, SIDE)
    values = np.quantile(codes[:, busiest], shares, axis=0)
    rows = np.tile(codes[0], (len(busiest), SIDE, 1))
    for row, dimension, along in zip(rows, busiest, values.T, strict=True):
        row[:, dimension] = along
    images = jaxae.decode(model, rows.reshape(-1, codes.shape[1]))
    images = np.asarray(images).reshape(*rows.shape[:2], *images.shape[1:])
    caption = (
        "The code of the first test image with one dimension of it moved: the "
        f"{len(busiest)} that vary most, a row each. Above the columns stands how "
        "many of the test images have a lower value there."
    )
    figure = plotting.image_rows(
        images,
        row_labels=[dimension_name(int(dimension)) for dimension in busiest],
        column_labels=[f"{share:.0%}" for share in shares],
    )
    return Picture("traversals", "Latent dimensions one by one", caption, figure)
