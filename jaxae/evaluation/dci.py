"""Disentanglement, completeness, informativeness (Eastwood & Williams 2018)."""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float

from jaxae.checks import check_key
from jaxae.errors import check_choice, importing_scikit_learn, require
from jaxae.evaluation.rows import codes_and_factors

Predictor = Literal["random_forest", "lasso"]

TREES = 10
DEPTHS = (2, 4, 8, 16)
"""How deep a tree may be: the depth that is best on validation rows is taken."""
PENALTIES = (0.1, 0.01, 0.001)
"""Weights of the Lasso's penalty, one of which is taken likewise."""


def dci(
    codes: Any,
    factors: Any,
    key: jax.Array,
    *,
    predictor: Predictor = "random_forest",
) -> dict[str, float]:
    """How factors are predicted from codes, and by how many dimensions each.

    Eastwood & Williams (2018), https://openreview.net/forum?id=By-7dz-AW. One predictor
    for every factor learns from three fifths of the rows and is chosen by a fifth; how
    much it relies on dimension i for factor j is R_ij.

    Args:
        codes: [n, d], real numbers.
        factors: [n, f], whole numbers.
        key: A typed key, from which the parts of the rows and the forests follow.
        predictor: "random_forest" takes every factor for a choice among classes; R is
            the decrease of Gini's impurity, and trees see all dimensions at every
            split. "lasso" is linear, for factors that are quantities; R is the size of
            the weights of standardised dimensions.

    Returns:
        `disentanglement`: how far dimensions serve one factor each, the mean of 1 - the
        entropy of R_ij / Σ_j R_ij to the base f, weighed by Σ_j R_ij;
        `completeness`: how far factors are known from one dimension each, the mean of
        1 - the entropy of R_ij / Σ_i R_ij to the base d, 0 for a factor that no
        dimension serves;
        `informativeness`: the mean accuracy, with the Lasso R², on the last fifth of
        the rows, where the paper has the error. All are at most 1, the best.

    Raises:
        ValueError: See `mig`; or there are fewer than ten rows, or the predictor is
            unknown.
        ImportError: scikit-learn is not installed.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> factors = np.random.default_rng(0).integers(3, size=(200, 2))
        >>> scores = jaxae.evaluation.dci(2.0 * factors, factors, jax.random.key(0))
        >>> {name: round(score, 6) for name, score in scores.items()}
        {'disentanglement': 1.0, 'completeness': 1.0, 'informativeness': 1.0}
    """
    check_key(key)
    codes, factors = codes_and_factors(codes, factors)
    check_choice("predictor", predictor, Predictor)
    require(len(codes) >= 10, "codes", codes.shape, "[n, d] with at least ten rows")
    codes = _standardized(codes)
    seed = int(jax.random.bits(key))
    order = np.random.default_rng(seed).permutation(len(codes))
    fifth = len(codes) // 5
    parts = order[2 * fifth :], order[fifth : 2 * fifth], order[:fifth]
    # One penalty is as strong for any unit of a factor.
    targets = _standardized(factors) if predictor == "lasso" else factors
    found = [
        _predicted(_candidates(predictor, seed), codes, target, parts)
        for target in targets.T
    ]
    importances = np.stack([importance for importance, _ in found], axis=1)
    total = max(float(importances.sum()), np.finfo(np.float64).tiny)
    shares = importances.sum(axis=1) / total
    return {
        "disentanglement": float(shares @ certainty(importances)),
        "completeness": float(certainty(importances.T).mean()),
        "informativeness": float(np.mean([score for _, score in found])),
    }


def certainty(importances: Float[np.ndarray, "m k"]) -> Float[np.ndarray, " m"]:
    """1 - the entropy of every row's shares to the base k; 0 for a row of zeros."""
    totals = importances.sum(axis=1, keepdims=True)
    shares = importances / np.where(totals > 0, totals, 1.0)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    entropy = -(shares * logs).sum(axis=1) / np.log(max(2, shares.shape[1]))
    return np.where(totals[:, 0] > 0, 1.0 - entropy, 0.0)


def _standardized(table: np.ndarray) -> Float[np.ndarray, "n k"]:
    """Columns of mean 0 and, where they vary, of standard deviation 1."""
    deviation = table.std(axis=0)
    return (table - table.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)


def _candidates(predictor: Predictor, seed: int) -> list[Any]:
    with importing_scikit_learn("dci"):
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.linear_model import Lasso
    if predictor == "lasso":
        return [Lasso(penalty) for penalty in PENALTIES]
    # With all dimensions to choose from, one that knows nothing is not split by.
    options = {"max_features": None, "random_state": seed}
    return [RandomForestClassifier(TREES, max_depth=d, **options) for d in DEPTHS]


def _predicted(
    candidates: Sequence[Any],
    codes: Float[np.ndarray, "n d"],
    target: np.ndarray,
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> tuple[Float[np.ndarray, " d"], float]:
    """What the best candidate relies on, and its score."""
    train, validation, test = parts
    fitted = [each.fit(codes[train], target[train]) for each in candidates]
    judged = codes[validation], target[validation]
    best = max(fitted, key=lambda each: each.score(*judged))
    linear = hasattr(best, "coef_")
    importance = np.abs(best.coef_) if linear else best.feature_importances_
    return importance, float(best.score(codes[test], target[test]))
