"""The Fréchet distance between two sets of features."""

from typing import Any

import numpy as np
from jaxtyping import Float

from jaxae.errors import require
from jaxae.evaluation.rows import finite_rows


def frechet_distance(first: Any, second: Any) -> float:
    """|m₁ - m₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½), with m the means and C the covariances.

    That is the squared 2-Wasserstein distance of two normal distributions (Dowson &
    Landau 1982). Heusel et al. (2017) took it between the features of real and of
    generated images; it is the "FID" only in the feature space of their Inception
    network, and comparable only within one feature space and one number of images. As
    in their program, covariances have the divisor n - 1.

    Args:
        first: Features [n, d] of one set of images.
        second: Features [m, d] of the other.

    Returns:
        The distance in squared units of the features, in float64; at least 0.

    Raises:
        ValueError: The shapes differ, a value is not finite, or a set has fewer than
            two rows.

    Example:
        >>> import jaxae
        >>> a = [[0.0], [2.0]]
        >>> round(jaxae.evaluation.frechet_distance(a, [[1.0], [3.0]]), 6)
        1.0
    """
    a, b = finite_rows("first", first), finite_rows("second", second)
    require(a.shape[1] == b.shape[1], "second", b.shape, f"[m, {a.shape[1]}]")
    shift = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    cov_a, cov_b = (np.cov(x, rowvar=False).reshape(x.shape[1], -1) for x in (a, b))
    # C₁ C₂ has the eigenvalues of the symmetric C₁^½ C₂ C₁^½.
    root = _square_root(cov_a)
    overlap = np.sqrt(_not_below_zero(np.linalg.eigvalsh(root @ cov_b @ root))).sum()
    return max(0.0, float(shift + np.trace(cov_a) + np.trace(cov_b) - 2 * overlap))


def _square_root(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(_not_below_zero(values))) @ vectors.T


def _not_below_zero(values: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    """Eigenvalues of a covariance are, but for rounding."""
    return np.maximum(values, 0.0)
