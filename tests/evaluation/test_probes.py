"""Probes: what can be read off, what cannot, and votes counted by hand."""

import sys

import numpy as np
import pytest

from jaxae.evaluation import knn_accuracy, linear_probe

RNG = np.random.default_rng(0)
CODES = RNG.normal(size=(600, 3)) * [1.0, 100.0, 1e-3]
SIDES = (CODES[:, 1] > 0).astype(np.int32)
RINGS = (np.abs(CODES[:, 1]) > 60).astype(np.int32)


def parts(labels):
    return CODES[:400], labels[:400], CODES[400:], labels[400:]


def test_a_half_space_is_linear_and_a_band_is_not():
    assert linear_probe(*parts(SIDES)) > 0.98
    most = max(RINGS[400:].mean(), 1 - RINGS[400:].mean())
    assert abs(linear_probe(*parts(RINGS)) - most) < 0.08
    assert knn_accuracy(*parts(RINGS), neighbors=5) > 0.95
    # Scaled by the training codes: the unit of a dimension does not matter.
    small = CODES * [1e4, 1e-5, 1.0]
    found = linear_probe(small[:400], SIDES[:400], small[400:], SIDES[400:])
    assert found == linear_probe(*parts(SIDES))


def test_votes_of_neighbours_against_loops():
    codes, labels = CODES[:40, :2] / [1, 100], RNG.integers(2, size=40)
    test_codes, test_labels = CODES[40:60, :2] / [1, 100], RNG.integers(2, size=20)
    right = 0
    for code, label in zip(test_codes, test_labels, strict=True):
        nearest = np.argsort([np.hypot(*(code - other)) for other in codes])[:7]
        right += (labels[nearest].sum() > 3) == label
    found = knn_accuracy(codes, labels, test_codes, test_labels, neighbors=7)
    assert found == pytest.approx(right / 20)


@pytest.mark.parametrize("score", [linear_probe, knn_accuracy])
def test_what_is_wrong_is_named(score, monkeypatch):
    codes, labels, test_codes, test_labels = parts(SIDES)

    def check(message, *arguments):
        with pytest.raises(ValueError, match=message):
            score(*arguments)

    check("^codes must be", codes[:, 0], labels, test_codes, test_labels)
    check(r"^labels must be \[400\]", codes, test_labels, test_codes, test_labels)
    check(r"^test_codes must be \[m, 3\]", codes, labels, test_codes[:, 1:], labels)
    check("^labels must be whole", codes, 1.0 * labels, test_codes, test_labels)
    check("^test_labels must be", codes, labels, test_codes, test_labels[:, None])
    check("all are 0$", codes, 0 * labels, test_codes, test_labels)
    monkeypatch.setitem(sys.modules, "sklearn.neighbors", None)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(ImportError, match=f"^{score.__name__} needs scikit-learn: pip"):
        score(codes, labels, test_codes, test_labels)


def test_there_are_not_more_neighbours_than_codes():
    with pytest.raises(ValueError, match=r"^neighbors must be at most the 400"):
        knn_accuracy(*parts(SIDES), neighbors=401)
