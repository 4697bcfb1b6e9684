"""Whether every dimension of a code stands for one factor that the data were made of.

Scores of codes [n, d] against factors [n, f], whole numbers, of the same examples. They
are meant for data in which all combinations of the factors occur, or are drawn
independently: where factors go together, no code can tell them apart. What a model's
codes are is `jaxae.encode`, the means of q(z | x).
"""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxae.checks import check_count, check_key
from jaxae.errors import ensure, require
from jaxae.evaluation.rows import codes_and_factors

Column = Float[np.ndarray, " n"]
Classes = Int[np.ndarray, " n"]


def mig(codes: Any, factors: Any, *, bins: int = 20) -> float:
    """The mutual information gap (Chen et al. 2018, equation 6).

    The mean over the factors v of (I(z_j; v) - I(z_k; v)) / H(v), with j the dimension
    that has the most information on v and k the next one:
    https://arxiv.org/abs/1802.04942. The paper integrates over q(z | x); here, as in
    Locatello et al. (2019), the codes are points, and each dimension is cut into bins
    of one width between its extremes. It is 1 where one dimension alone knows a factor
    of at most so many values, and 0 where two dimensions know it equally well.

    Args:
        codes: [n, d], real numbers. Of a single dimension the next one has nothing.
        factors: [n, f], whole numbers.
        bins: Of every dimension.

    Returns:
        From 0 to 1. With few examples for every bin all information is overestimated.

    Raises:
        ValueError: The codes are not finite, the factors not whole numbers, there are
            not as many of both, a factor never varies, or `bins` is below 2.

    Example:
        >>> import numpy as np, jaxae
        >>> factors = np.stack(np.meshgrid(range(3), range(4)), axis=-1).reshape(-1, 2)
        >>> round(jaxae.evaluation.mig(2.0 * factors, factors), 6)
        1.0
    """
    codes, factors = codes_and_factors(codes, factors)
    check_count("bins", bins, least=2)
    binned = [_binned(column, bins) for column in codes.T]
    gaps = []
    for factor in factors.T:
        gap = _gap(mutual_information(each, factor) for each in binned)
        gaps.append(gap / mutual_information(factor, factor))
    return min(1.0, float(np.mean(gaps)))


def sap(
    codes: Any,
    factors: Any,
    *,
    categories: Iterable[int] = (),
    threshold: float = 0.01,
) -> float:
    """The separated attribute predictability (Kumar et al. 2018, section 3).

    The mean over the factors of how much better the best single dimension predicts it
    than the next one: https://openreview.net/forum?id=H1kG7GZAW. A factor that is a
    quantity is predicted by a line, scored by R², the squared correlation. One that is
    a choice among K is predicted by K - 1 thresholds, each stretch between them
    standing for one class, such that the balanced accuracy, its score, is the highest
    possible. That is at least 1 / K, so that the gap there is at most 1 - 1 / K. What
    does not vary, or is not there, predicts as a constant: 0 and 1 / K.

    Args:
        codes: [n, d], real numbers.
        factors: [n, f], whole numbers.
        categories: The columns of `factors` that are choices, such as a shape.
        threshold: The variance that a dimension needs, in squared units of z; see
            `active_units`.

    Returns:
        From 0 to 1.

    Raises:
        ValueError: See `mig`; or there is no such column, or `threshold` is below 0.

    Example:
        >>> import numpy as np, jaxae
        >>> factors = np.stack(np.meshgrid(range(3), range(4)), axis=-1).reshape(-1, 2)
        >>> round(jaxae.evaluation.sap(2.0 * factors, factors), 6)
        1.0
    """
    codes, factors = codes_and_factors(codes, factors)
    count = factors.shape[1]
    categories = tuple(categories)
    there = all(column in range(count) for column in categories)
    require(there, "categories", categories, f"columns of factors, below {count}")
    nothing = np.zeros((len(codes), 1))
    columns = np.hstack([codes[:, _active(codes, threshold)], nothing, nothing]).T
    gaps = []
    for i, factor in enumerate(factors.T):
        score = threshold_accuracy if i in categories else squared_correlation
        gaps.append(_gap(score(column, factor) for column in columns))
    return float(np.mean(gaps))


def factor_vae_score(
    codes: Any,
    factors: Any,
    key: jax.Array,
    *,
    votes: int = 800,
    batch_size: int = 64,
    threshold: float = 0.01,
) -> float:
    """How well the dimension that varies least tells which factor was held fixed.

    Kim & Mnih (2018), section 4: https://arxiv.org/abs/1802.05983. A vote is a batch of
    examples in which one factor, drawn at random, has one value and the others any.
    Every dimension is divided by its standard deviation over all codes; the one whose
    variance over the batch is the lowest stands for the factor that most votes give it.
    The score is the share of as many other votes that are right so, where the paper
    counts those that it learns from.

    Args:
        codes: [n, d], real numbers, of a data set in which the factors are independent.
        factors: [n, f], whole numbers.
        key: A typed key, from which the batches follow.
        votes: To learn from; and as many to be judged by.
        batch_size: Examples behind a vote, drawn with replacement.
        threshold: The variance that a dimension needs to take part, in squared units of
            z; see `active_units`. With none left the score is 1 / f, that of guessing.

    Returns:
        From about 1 / f, for codes that know nothing, to 1.

    Raises:
        ValueError: See `mig`; or a value of a factor occurs once, a count is below 1 or
            `threshold` below 0.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> factors = np.stack(np.meshgrid(range(3), range(4)), axis=-1).reshape(-1, 2)
        >>> key = jax.random.key(0)
        >>> jaxae.evaluation.factor_vae_score(2.0 * factors, factors, key)
        1.0
    """
    check_key(key)
    codes, factors = codes_and_factors(codes, factors)
    check_count("votes", votes)
    check_count("batch_size", batch_size, least=2)
    for i, factor in enumerate(factors.T):
        values, counts = np.unique(factor, return_counts=True)
        once = f"in column {i} {values[counts.argmin()]} is there once"
        ensure(counts.min() > 1, f"factors must have every value several times, {once}")
    active = _active(codes, threshold)
    if not active.any():
        return 1.0 / factors.shape[1]
    scaled = codes[:, active] / codes[:, active].std(axis=0)
    random = np.random.default_rng(int(jax.random.bits(key)))
    fixed = random.integers(factors.shape[1], size=2 * votes)
    still = np.empty_like(fixed)
    for i, column in enumerate(fixed):
        alike = np.flatnonzero(factors[:, column] == random.choice(factors[:, column]))
        batch = scaled[random.choice(alike, batch_size)]
        still[i] = batch.var(axis=0).argmin()
    table = np.zeros((scaled.shape[1], factors.shape[1]))
    np.add.at(table, (still[:votes], fixed[:votes]), 1)
    named = table.argmax(axis=1)[still[votes:]]
    return float((named == fixed[votes:]).mean())


def mutual_information(a: Classes, b: Classes) -> float:
    """I(a; b) in nats of two columns of classes, as often as they occur together."""
    _, rows = np.unique(a, return_inverse=True)
    _, columns = np.unique(b, return_inverse=True)
    joint = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(joint, (rows, columns), 1.0 / len(a))
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / apart[there])).sum())


def squared_correlation(column: Column, factor: Classes) -> float:
    """R² of the line from one to the other; 0 where the column is constant."""
    spread = column.std() * factor.std()
    covariance = ((column - column.mean()) * (factor - factor.mean())).mean()
    return float((covariance / spread) ** 2) if spread > 0 else 0.0


def threshold_accuracy(column: Column, factor: Classes) -> float:
    """The highest balanced accuracy with a threshold less than there are classes."""
    _, places = np.unique(column, return_inverse=True)
    classes, labels = np.unique(factor, return_inverse=True)
    counts = np.zeros((places.max() + 2, len(classes)))
    np.add.at(counts, (places + 1, labels), 1)
    # What a stretch adds for a class is the difference of this at its ends.
    below = counts.cumsum(axis=0) / (len(classes) * counts.sum(axis=0))
    best = np.zeros(len(below))  # up to every place, with the stretches so far
    for _ in classes:
        start = np.maximum.accumulate(best[:, None] - below, axis=0)
        best = (below + start).max(axis=1)
    return float(best[-1])


def _gap(scores: Iterable[float]) -> float:
    """From the second highest to the highest; from 0 where there is one alone."""
    second, first = np.sort([0.0, *scores])[-2:]
    return float(first - second)


def _binned(column: Column, bins: int) -> Classes:
    edges = np.linspace(column.min(), column.max(), bins + 1)
    return np.searchsorted(edges[1:-1], column, side="right")


def _active(codes: Float[np.ndarray, "n d"], threshold: float) -> np.ndarray:
    require(threshold >= 0, "threshold", threshold, "at least 0")
    return codes.var(axis=0) > threshold
