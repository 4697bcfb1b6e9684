"""Scores of disentanglement: known answers, and a second writing by loops."""

import itertools
import math
import sys

import jax
import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from jaxae.evaluation import dci, factor_vae_score, mig, sap
from jaxae.evaluation.dci import certainty
from jaxae.evaluation.disentanglement import (
    mutual_information,
    squared_correlation,
    threshold_accuracy,
)

KEY = jax.random.key(0)
SIZES = (3, 4, 5)
# Every combination, some times over: forests need several rows of each.
FACTORS = np.tile(list(itertools.product(*map(range, SIZES))), (12, 1))
RNG = np.random.default_rng(0)
# Permuted, scaled, with the signs flipped and a dimension that knows nothing.
IDENTITY = np.stack(
    [-3.0 * FACTORS[:, 2], FACTORS[:, 0] + 7.0, RNG.normal(size=720), FACTORS[:, 1]], 1
)
NOISE = np.random.default_rng(1).normal(size=(720, 4))


def rotated():
    """The first two factors, of one spread, turned by 45°; the third as it is."""
    x = (FACTORS - FACTORS.mean(axis=0)) / FACTORS.std(axis=0)
    turn = np.sqrt(0.5) * np.array([[1, 1, 0], [1, -1, 0], [0, 0, np.sqrt(2)]])
    return x @ turn


ROTATED = rotated()


def test_squared_correlation_is_that_of_numpy():
    for column in (NOISE[:, 0], 1e-3 * FACTORS[:, 1] + NOISE[:, 1] ** 2):
        expected = np.corrcoef(column, FACTORS[:, 1])[0, 1] ** 2
        found = squared_correlation(column, FACTORS[:, 1])
        assert found == pytest.approx(expected, rel=1e-9)


def test_information_is_that_of_scikit_learn():
    a, b = RNG.integers(-2, 3, 200), RNG.integers(5, size=200) ** 2
    for one, other in ((a, b), (a, a), (a, a + b), (a // 9, b)):
        expected = mutual_info_score(one, other)
        assert mutual_information(one, other) == pytest.approx(expected, abs=1e-12)


def test_mig_of_a_code_that_is_the_factors():
    whole = np.delete(IDENTITY, 2, axis=1)
    assert mig(whole, FACTORS) == pytest.approx(1.0, abs=1e-12)
    # Any other spacing, as long as no two values share a bin.
    assert mig(np.exp(0.1 * whole), FACTORS) == pytest.approx(1.0, abs=1e-12)
    # Noise has some information on 720 rows, which is the next most.
    assert 0.9 < mig(IDENTITY, FACTORS) < 1.0
    # In two bins there is their entropy alone: of 1 : 2, 2 : 2 and 2 : 3 values.
    shares = [(1 / 3, 3), (1 / 2, 4), (2 / 5, 5)]
    gaps = [-(p * math.log(p) + (1 - p) * math.log1p(-p)) for p, _ in shares]
    parts = [gap / math.log(k) for gap, (_, k) in zip(gaps, shares, strict=True)]
    assert mig(whole, FACTORS, bins=2) == pytest.approx(np.mean(parts), abs=1e-12)


def test_mig_of_noise_and_of_a_turned_code():
    assert mig(NOISE, FACTORS) < 0.02
    # Of the two that are mixed both dimensions know as much; the third is whole.
    assert mig(ROTATED, FACTORS) == pytest.approx(1 / 3, abs=0.02)
    twice = np.concatenate([IDENTITY, IDENTITY], axis=1)
    assert mig(twice, FACTORS) == pytest.approx(0.0, abs=1e-12)


def test_mig_against_loops_over_a_small_table():
    codes = np.array([[0.0, 5.0], [0.4, 5.0], [1.0, 6.0], [0.6, 5.0], [0.9, 6.0]])
    factors = np.array([[1], [1], [8], [1], [1]])
    bins = [[0, 0, 1, 1, 1], [0, 0, 1, 0, 1]]  # of two

    def information(a, b):
        total = 0.0
        for u, v in itertools.product(set(a), set(b)):
            both = sum(x == u and y == v for x, y in zip(a, b, strict=True)) / 5
            if both:
                apart = sum(x == u for x in a) * sum(y == v for y in b) / 25
                total += both * math.log(both / apart)
        return total

    factor = factors[:, 0].tolist()
    entropy = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    first, second = (information(each, factor) for each in bins)
    assert second > first > 0
    found = mig(codes, factors, bins=2)
    assert found == pytest.approx((second - first) / entropy, rel=1e-12)
    alone = mig(codes[:, 1:], factors, bins=2)
    assert alone == pytest.approx(second / entropy, rel=1e-12)


def test_sap_of_known_codes():
    whole = np.delete(IDENTITY, 2, axis=1)
    assert sap(whole, FACTORS) == pytest.approx(1.0, abs=1e-12)
    # The next best of the classes is right by chance, in one case of so many.
    chance = np.mean([1 - 1 / k for k in SIZES])
    all_of_them = sap(whole, FACTORS, categories=(0, 1, 2))
    assert all_of_them == pytest.approx(chance, abs=1e-12)
    one = sap(whole, FACTORS, categories=(2,))
    assert one == pytest.approx((2 + 1 - 1 / SIZES[2]) / 3, abs=1e-12)
    assert sap(NOISE, FACTORS) < 0.02
    assert sap(ROTATED, FACTORS) == pytest.approx(1 / 3, abs=1e-9)
    # What does not vary by more than the threshold is nobody's.
    assert sap(0.09 * whole / whole.std(axis=0), FACTORS) == 0.0
    small = np.concatenate([whole, 1e-3 * whole], axis=1)
    assert sap(small, FACTORS) == pytest.approx(1.0, abs=1e-12)
    assert sap(small, FACTORS, threshold=0.0) == pytest.approx(0.0, abs=1e-12)
    # A single dimension is compared with a constant, which is right by chance.
    alone = sap(FACTORS[:, :1], FACTORS, categories=(0, 1, 2))
    assert alone == pytest.approx((1 - 1 / SIZES[0]) / 3, abs=1e-12)
    assert sap(0.0 * whole, FACTORS, categories=(0, 1, 2)) == 0.0
    assert sap(FACTORS[:, :1], FACTORS) == pytest.approx(1 / 3, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_against_all_that_there_are(seed):
    rng = np.random.default_rng(seed)
    column = rng.integers(6, size=14) / 3.0  # with ties, which nothing divides
    factor = np.concatenate([[0, 1, 2], rng.integers(3, size=11)])
    cuts = np.unique(column)
    best = 0.0
    for low, high in itertools.product([-1.0, *cuts], repeat=2):
        for classes in itertools.product(range(3), repeat=3):
            stretch = (column > low).astype(int) + (column > max(low, high))
            named = np.array(classes)[stretch]
            right = [(named == k)[factor == k].mean() for k in range(3)]
            best = max(best, np.mean(right))
    assert threshold_accuracy(column, factor) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("predictor", ["random_forest", "lasso"])
def test_dci_of_known_codes(predictor):
    scores = dci(np.delete(IDENTITY, 2, axis=1), FACTORS, KEY, predictor=predictor)
    # The smallest penalty of the Lasso is 0.001, and R² is 1 - 0.001².
    assert scores == pytest.approx(dict.fromkeys(scores, 1.0), abs=1e-5)
    assert list(scores) == ["disentanglement", "completeness", "informativeness"]
    turned = dci(ROTATED, FACTORS, KEY, predictor=predictor)
    assert turned["informativeness"] > 0.9
    for name in ("disentanglement", "completeness"):
        assert 0.3 < turned[name] < 0.8
    noise = dci(NOISE, FACTORS, KEY, predictor=predictor)
    if predictor == "random_forest":
        chance = np.mean([1 / k for k in SIZES])
        assert noise["informativeness"] == pytest.approx(chance, abs=0.08)
        assert noise["disentanglement"] < 0.1 and noise["completeness"] < 0.1
    else:
        assert noise["informativeness"] < 0.05


def test_dci_of_weights_in_a_known_ratio():
    # v = a + 2 b takes a third of its weights from a; w is c alone.
    a, b, c = RNG.integers(2, size=(3, 4000))
    codes = np.stack([a, 5.0 * b, -c], axis=1)
    scores = dci(codes, np.stack([a + 2 * b, c], 1), KEY, predictor="lasso")
    entropy = -(math.log(1 / 3) / 3 + 2 * math.log(2 / 3) / 3)
    completeness = (1 - entropy / math.log(3) + 1) / 2
    # The Lasso takes 0.001 from every weight, of which the least is 0.45.
    assert scores["completeness"] == pytest.approx(completeness, abs=2e-3)
    assert scores["disentanglement"] == pytest.approx(1.0, abs=1e-9)


def test_certainty_against_loops():
    weights = np.array([[1.0, 1.0, 2.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    found = certainty(weights)
    expected = 1.0
    for share in (0.25, 0.25, 0.5):
        expected += share * math.log(share) / math.log(3)
    np.testing.assert_allclose(found, [expected, 1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(certainty(weights[:, :1]), [1.0, 0.0, 0.0])


def test_a_code_that_knows_nothing_has_no_importance():
    constant = np.ones_like(NOISE)
    scores = dci(constant, FACTORS, KEY)
    assert scores["disentanglement"] == scores["completeness"] == 0.0
    assert mig(constant, FACTORS) == sap(constant, FACTORS) == 0.0
    assert factor_vae_score(constant, FACTORS, KEY) == 1 / 3


def test_factor_vae_score_of_known_codes():
    whole = np.delete(IDENTITY, 2, axis=1)
    # The noise varies in every batch.
    for codes in (whole, IDENTITY):
        assert factor_vae_score(codes, FACTORS, KEY) == 1.0
    # Four standard deviations of the share of 800 votes, and of what luck adds.
    noise = factor_vae_score(NOISE, FACTORS, KEY)
    assert noise == pytest.approx(1 / 3, abs=0.07)
    # Of the two that are mixed one vote in two is right.
    assert factor_vae_score(ROTATED, FACTORS, KEY) == pytest.approx(2 / 3, abs=0.08)
    # A dimension that has collapsed is still always, if it takes part.
    collapsed = np.concatenate([whole, 1e-3 * NOISE[:, :1]], axis=1)
    assert factor_vae_score(collapsed, FACTORS, KEY) == 1.0
    same, other = (
        factor_vae_score(NOISE, FACTORS, jax.random.key(seed)) for seed in (0, 1)
    )
    assert same == noise != other


def test_large_batches_vote_as_their_whole_groups_do():
    # Products, so that how much varies depends on which value is fixed.
    tables = [RNG.uniform(0.2, 2, size=(k, 4)) for k in SIZES]
    codes = np.prod([table[FACTORS[:, i]] for i, table in enumerate(tables)], axis=0)
    votes = {}  # how often each factor is fixed where a dimension is still
    for i, size in enumerate(SIZES):
        for value in range(size):
            group = codes[FACTORS[:, i] == value]
            spread = [np.var(group[:, j]) / np.var(codes[:, j]) for j in range(4)]
            still = spread.index(min(spread))
            votes.setdefault(still, [0.0] * 3)[i] += 1 / 3 / size
    expected = sum(max(shares) for shares in votes.values())
    assert 0.4 < expected < 0.95
    score = factor_vae_score(codes, FACTORS, KEY, votes=2000, batch_size=1000)
    assert score == pytest.approx(expected, abs=4 * (0.25 / 2000) ** 0.5)


def test_scores_are_those_of_disentanglement_lib():
    """Figures of its functions (google-research/disentanglement_lib) for these codes.

    20 bins; SAP of quantities; 10,000 votes of 6 rows, of which it has 0.765.
    """
    random = np.random.default_rng(0)
    factors = np.stack(np.meshgrid(range(3), range(4), range(5)), axis=-1)
    factors = np.tile(factors.reshape(-1, 3), (20, 1))
    mixed = factors @ [[1.0, 0.3, 0.0, 0.2], [0.0, 0.8, 0.1, 0.5], [0.1, 0.0, 0.9, 0.4]]
    codes = mixed + 0.7 * random.standard_normal(mixed.shape)
    assert mig(codes, factors) == pytest.approx(0.2957589184383134, abs=1e-12)
    assert sap(codes, factors) == pytest.approx(0.4548790867728307, abs=1e-12)
    options = {"votes": 3000, "batch_size": 6}
    score = factor_vae_score(codes, factors, jax.random.key(0), **options)
    assert score == pytest.approx(0.765, abs=4 * math.sqrt(0.765 * 0.235 / 3000))
    rows = [[4.0, 0.5, 0.0], [1.0, 3.0, 0.2], [0.0, 0.0, 2.0], [0.3, 0.3, 0.3]]
    shares = np.array(rows) / np.sum(rows, axis=0)
    weights = shares.sum(axis=1) / shares.sum()
    # Its entropies are of shares with 1e-11 added.
    assert weights @ certainty(shares) == pytest.approx(0.5739500133992304, abs=1e-8)
    assert certainty(shares.T).mean() == pytest.approx(0.5242639227527517, abs=1e-8)


@pytest.mark.parametrize("score", [mig, sap, dci, factor_vae_score])
@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (NOISE[:, 0], FACTORS, r"^codes must be \[n, d\] with n at least 2"),
        (NOISE[:9], FACTORS, r"^factors must be \[9, f\], a row for every code, got"),
        (NOISE, FACTORS[:, 0], r"^factors must be \[720, f\]"),
        (NOISE, 1.0 * FACTORS, r"^factors must be whole numbers, got 'float64'"),
        (NOISE, FACTORS // [1, 1, 9], r"^factors must vary, column 2 is 0 throughout"),
        (np.where(NOISE > 2, np.nan, NOISE), FACTORS, r"^codes must be finite, got"),
    ],
)
def test_what_is_wrong_with_the_tables_is_named(score, codes, factors, message):
    key = (KEY,) if score in (dci, factor_vae_score) else ()
    with pytest.raises(ValueError, match=message):
        score(codes, factors, *key)


def test_what_is_wrong_with_the_options_is_named(monkeypatch):
    with pytest.raises(ValueError, match=r"^bins must be a whole number of at least 2"):
        mig(NOISE, FACTORS, bins=1)
    with pytest.raises(ValueError, match=r"^categories must be columns of factors, be"):
        sap(NOISE, FACTORS, categories=(3,))
    with pytest.raises(ValueError, match=r"^threshold must be at least 0"):
        sap(NOISE, FACTORS, threshold=-1.0)
    with pytest.raises(ValueError, match=r"^votes must be"):
        factor_vae_score(NOISE, FACTORS, KEY, votes=0)
    once = np.where(np.arange(720)[:, None] == 5, 9, FACTORS)
    with pytest.raises(ValueError, match=r"several times, in column 0 9 is there once"):
        factor_vae_score(NOISE, once, KEY)
    with pytest.raises(ValueError, match=r"^codes must be .* at least ten rows"):
        dci(NOISE[:9], FACTORS[:9] + np.arange(9)[:, None], KEY)
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(ImportError, match=r"^dci needs scikit-learn: pip install"):
        dci(NOISE, FACTORS, KEY)


def test_categories_may_be_any_iterable():
    listed = sap(NOISE, FACTORS, categories=[0])
    assert sap(NOISE, FACTORS, categories=iter([0])) == listed


def test_complex_codes_are_refused():
    with pytest.raises(
        ValueError, match="codes must be real numbers, got 'complex128'"
    ):
        mig(1j * NOISE, FACTORS)
