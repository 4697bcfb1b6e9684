"""The Fréchet distance against closed forms and SciPy's matrix square root."""

import numpy as np
import pytest
import scipy.linalg

from jaxae.evaluation import frechet_distance


def _normal(seed, n, d):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def test_it_is_that_of_scipys_square_root():
    a, b = _normal(0, 50, 5), _normal(1, 70, 5)
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = shift + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_a_shift_and_a_scale_in_one_dimension():
    x = np.random.default_rng(2).normal(size=(100, 1))
    # (m₁ - m₂)² + (s₁ - s₂)²
    mean, std = x.mean(), x.std(ddof=1)
    expected = (2 * mean + 3) ** 2 + (2 * std) ** 2
    assert frechet_distance(x, 3 * x + 3) == pytest.approx(expected, rel=1e-9)


def test_covariances_are_those_of_samples():
    # 1² + (√2 - √8)²: the variances of two points are 2 and 8, not 1 and 4.
    found = frechet_distance([[0.0], [2.0]], [[0.0], [4.0]])
    assert found == pytest.approx(3.0, rel=1e-12)


def test_a_set_has_no_distance_to_itself_even_where_covariances_are_singular():
    x = _normal(3, 4, 9)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    # A rotation of the same rows is at a distance, unless the features turn too.
    turn, _ = np.linalg.qr(_normal(4, 9, 9))
    assert frechet_distance(x, x @ turn) > 0.1
    both = frechet_distance(x @ turn, 2 * x @ turn)
    assert both == pytest.approx(frechet_distance(x, 2 * x), rel=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 3)), r"second must be \[m, 2\]"),
        (np.zeros((1, 2)), np.zeros((3, 2)), "first must be .* n at least 2"),
        (np.zeros(3), np.zeros((3, 2)), "first must be"),
        (np.zeros((3, 2)), np.full((3, 2), np.nan), "second must be finite"),
    ],
)
def test_bad_features_are_named(first, second, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(first, second)
