"""The entropy coder: a stack of symbols, which is one long whole number.

Asymmetric numeral systems (Duda 2009, https://arxiv.org/abs/0902.0271), of constriction
(https://bamler-lab.github.io/constriction), whose probabilities have 24 bits.
"""

import hashlib
import math
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt32

from jaxae.errors import ensure, importing

BUCKETS = 2**12
"""Buckets of a latent dimension: of one mass under N(0, 1), its prior or a grid's.

As many as Townsend et al. (2019) take. Every one has a 2**-24 of the posterior at
least: more buckets would draw more codes from where the posterior is not.
"""

BORROWED = 16
"""Words that are put beneath the stack at a time, where it is too short."""

_WIDEST = 24  # bits that a symbol may take
_STANDARD = NormalDist()
_INNER = [_STANDARD.inv_cdf(i / BUCKETS) for i in range(1, BUCKETS)]
_EDGES = [-math.inf, *_INNER, math.inf]

CENTRES = np.array(
    [_STANDARD.inv_cdf((i + 0.5) / BUCKETS) for i in range(BUCKETS)], np.float32
)
"""Where the buckets of N(0, 1) have half of their mass on either side."""

Indices = Int[np.ndarray, " d"]


class Stack:
    """What was pushed last is popped first. A pop of anything undoes its push.

    Popping a symbol takes -log2 of its probability of bits off the stack, and is a draw
    from the distribution if the bits are random; pushing one adds as many.

    Attributes:
        borrowed: How many random words lie beneath what was pushed.
    """

    def __init__(self, words: UInt32[np.ndarray, " n"] | None = None) -> None:
        """An empty stack, or that of `words`."""
        self._coders = _constriction()
        model = self._coders.model
        self._bucket = model.CustomModel(_mass_below, _bucket_near, 0, BUCKETS - 1)
        self._uniform = model.Uniform(BUCKETS)
        self._symbol = model.Categorical(perfect=False)
        self.borrowed = BORROWED if words is None else 0
        start = random_words(BORROWED) if words is None else words
        self._ans = self._coders.stack.AnsCoder(start)

    @property
    def words(self) -> UInt32[np.ndarray, " n"]:
        """All that is on it."""
        return self._ans.get_compressed()

    def pop_gaussian(
        self, mean: Float[np.ndarray, " d"], std: Float[np.ndarray, " d"]
    ) -> Indices:
        """Buckets of N(mean, std²); borrows random words if there are not enough."""
        _check_gaussian(mean, std)
        while self._ans.num_words() < 2 + -(-_WIDEST * len(mean) // 32):
            trial = self._ans.clone()
            found = trial.decode(self._bucket, mean, std)
            if trial.num_words() >= 2:  # fewer have lost bits
                self._ans = trial
                return found
            self._borrow()
        return self._ans.decode(self._bucket, mean, std)

    def push_gaussian(
        self,
        buckets: Indices,
        mean: Float[np.ndarray, " d"],
        std: Float[np.ndarray, " d"],
    ) -> None:
        """Undoes `pop_gaussian`."""
        _check_gaussian(mean, std)
        self._ans.encode_reverse(buckets, self._bucket, mean, std)

    def pop_prior(self, size: int, number: int) -> Indices:
        """Undoes `push_prior`."""
        return self._ans.decode(self._uniform, size) ^ _random_buckets(size, number)

    def push_prior(self, buckets: Indices, number: int) -> None:
        """Buckets of N(0, 1), which all have the same mass.

        So they may change their names, to others for each image `number`. As they are,
        the next image's code would be drawn by them: by no random bits, where the codes
        of all images together are not distributed as the prior says.
        """
        names = buckets ^ _random_buckets(len(buckets), number)
        self._ans.encode_reverse(names, self._uniform)

    def pop_symbols(self, table: Float[np.ndarray, "d m"]) -> Indices:
        """Undoes `push_symbols`."""
        _check_finite(table)
        if table.shape[1] == 1:
            return np.zeros(len(table), np.int32)
        return self._ans.decode(self._symbol, table)

    def push_symbols(self, symbols: Indices, table: Float[np.ndarray, "d m"]) -> None:
        """Whole numbers below m, each with the probabilities of its row."""
        _check_finite(table)
        if table.shape[1] > 1:  # what is certain takes no bits
            self._ans.encode_reverse(symbols, self._symbol, table)

    def _borrow(self) -> None:
        fresh = random_words(self.borrowed + BORROWED)[:BORROWED]
        self.borrowed += BORROWED
        self._ans = self._coders.stack.AnsCoder(np.concatenate([fresh, self.words]))


def random_words(count: int) -> UInt32[np.ndarray, " n"]:
    """The last `count` of an endless sequence of words, the same for everyone.

    None of them is 0, with which a stack may not end.
    """
    return _random("words", count)[::-1] | np.uint32(1)


def _random_buckets(count: int, number: int) -> Indices:
    return (_random(f"image {number}", count) % BUCKETS).astype(np.int32)


def _random(name: str, count: int) -> UInt32[np.ndarray, " n"]:
    stream = hashlib.shake_256(f"jaxae {name}".encode()).digest(4 * count)
    return np.frombuffer(stream, "<u4").astype(np.uint32)


def _check_finite(*arrays: np.ndarray) -> None:
    what = "model must give finite numbers, got NaN or infinity"
    ensure(all(np.isfinite(each).all() for each in arrays), what)


def _check_gaussian(mean: np.ndarray, std: np.ndarray) -> None:
    _check_finite(mean, std)
    ensure((std > 0.0).all(), "model must give standard deviations above 0, got 0")


def _mass_below(edge: float, mean: float, std: float) -> float:
    """That of N(mean, std²), at an edge between buckets, as constriction counts it."""
    return 0.5 * math.erfc((mean - _EDGES[int(edge + 0.5)]) / (std * math.sqrt(2.0)))


def _bucket_near(mass: float, mean: float, std: float) -> float:
    """About the inverse, where the search for it begins."""
    if not 0.0 < mass < 1.0:
        return mass * (BUCKETS - 1)
    z = mean + std * _STANDARD.inv_cdf(mass)
    bucket = BUCKETS * 0.5 * math.erfc(-z / math.sqrt(2.0)) - 0.5
    return min(max(bucket, 0.0), BUCKETS - 1.0)


def _constriction() -> Any:
    with importing(
        "images are compressed by constriction: pip install 'jaxae[compress]'"
    ):
        from constriction import stream  # pyright: ignore[reportAttributeAccessIssue]
    return stream
