"""What simple classifiers can read from codes, the usual test of representations."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxae.checks import check_count
from jaxae.errors import ensure, importing_scikit_learn, require
from jaxae.evaluation.rows import finite_rows, whole_numbers

Tables = tuple[
    Float[np.ndarray, "n d"],
    Int[np.ndarray, " n"],
    Float[np.ndarray, "m d"],
    Int[np.ndarray, " m"],
]


def linear_probe(codes: Any, labels: Any, test_codes: Any, test_labels: Any) -> float:
    """The test accuracy of logistic regression on codes (Alain & Bengio 2016).

    https://arxiv.org/abs/1610.01644. scikit-learn's, with its L2 penalty of strength 1,
    on dimensions that are standardised by the training codes; it warns where it has not
    converged in 1,000 iterations.

    Args:
        codes: [n, d], real numbers, to learn from.
        labels: [n], whole numbers, of at least two classes.
        test_codes: [m, d], to be judged by.
        test_labels: [m].

    Returns:
        The share of the test labels that are predicted, from 0 to 1.

    Raises:
        ValueError: Codes are not finite, labels not whole numbers, there are not as
            many of both, or all training labels are the same.
        ImportError: scikit-learn is not installed.

    Example:
        >>> import numpy as np, jaxae
        >>> codes = np.random.default_rng(0).normal(size=(300, 2))
        >>> labels = (codes[:, 0] > codes[:, 1]).astype(int)
        >>> split = codes[:200], labels[:200], codes[200:], labels[200:]
        >>> jaxae.evaluation.linear_probe(*split) > 0.9
        True
    """
    codes, labels, test_codes, test_labels = _checked(
        codes, labels, test_codes, test_labels
    )
    with importing_scikit_learn("linear_probe"):
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(probe.fit(codes, labels).score(test_codes, test_labels))


def knn_accuracy(
    codes: Any,
    labels: Any,
    test_codes: Any,
    test_labels: Any,
    *,
    neighbors: int = 20,
) -> float:
    """The test accuracy of a vote among the nearest training codes.

    By Euclidean distance in the codes as they are, every neighbour with one vote.

    Args:
        codes: [n, d], real numbers, to learn from.
        labels: [n], whole numbers, of at least two classes.
        test_codes: [m, d], to be judged by.
        test_labels: [m].
        neighbors: How many of the nearest vote, at most n.

    Returns:
        The share of the test labels that are predicted, from 0 to 1.

    Raises:
        ValueError: See `linear_probe`; or `neighbors` is below 1 or above n.
        ImportError: scikit-learn is not installed.

    Example:
        >>> import numpy as np, jaxae
        >>> codes = np.random.default_rng(0).normal(size=(300, 2))
        >>> labels = (codes[:, 0] > codes[:, 1]).astype(int)
        >>> split = codes[:200], labels[:200], codes[200:], labels[200:]
        >>> jaxae.evaluation.knn_accuracy(*split) > 0.9
        True
    """
    codes, labels, test_codes, test_labels = _checked(
        codes, labels, test_codes, test_labels
    )
    check_count("neighbors", neighbors)
    count = len(codes)
    enough = f"at most the {count} training codes"
    require(neighbors <= count, "neighbors", neighbors, enough)
    with importing_scikit_learn("knn_accuracy"):
        from sklearn.neighbors import KNeighborsClassifier
    voters = KNeighborsClassifier(neighbors).fit(codes, labels)
    return float(voters.score(test_codes, test_labels))


def _checked(codes: Any, labels: Any, test_codes: Any, test_labels: Any) -> Tables:
    codes = finite_rows("codes", codes)
    test_codes = finite_rows("test_codes", test_codes, least=1)
    size = codes.shape[1]
    require(test_codes.shape[1] == size, "test_codes", test_codes.shape, f"[m, {size}]")
    labels = _labels("labels", labels, len(codes))
    test_labels = _labels("test_labels", test_labels, len(test_codes))
    several = (labels != labels[0]).any()
    ensure(several, f"labels must be of several classes, all are {labels[0]}")
    return codes, labels, test_codes, test_labels


def _labels(name: str, labels: Any, count: int) -> Int[np.ndarray, " n"]:
    labels = np.asarray(labels)
    require(labels.shape == (count,), name, labels.shape, f"[{count}], one a code")
    return whole_numbers(name, labels)
