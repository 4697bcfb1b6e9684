"""Tables that are handed to an evaluation: a row for every example."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxae.errors import ensure, require


def finite_rows(name: str, array: Any, least: int = 2) -> Float[np.ndarray, "n d"]:
    """Features or codes as float64.

    Raises:
        ValueError: They are not real numbers [n, d] with so many rows and a column at
            least, or not finite.
    """
    array = np.asarray(array)
    require(array.dtype.kind not in "cSU", name, array.dtype.name, "real numbers")
    right = array.ndim == 2 and array.shape[0] >= least and array.shape[1] >= 1
    rows = f"[n, d] with n at least {least} and d at least 1"
    require(right, name, array.shape, rows)
    array = array.astype(np.float64)
    bad = int(array.size - np.isfinite(array).sum())
    require(bad == 0, name, f"{bad} values that are NaN or infinite", "finite")
    return array


def codes_and_factors(
    codes: Any, factors: Any
) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, "n f"]]:
    """Both as they are checked for the scores of disentanglement.

    Raises:
        ValueError: See `finite_rows`; or the factors are not whole numbers [n, f], or
            one of them never varies.
    """
    codes, factors = finite_rows("codes", codes), np.asarray(factors)
    count = len(codes)
    right = factors.ndim == 2 and len(factors) == count and factors.shape[1] >= 1
    require(right, "factors", factors.shape, f"[{count}, f], a row for every code")
    factors = whole_numbers("factors", factors)
    for i, column in enumerate(factors.T):
        varies = (column != column[0]).any()
        ensure(varies, f"factors must vary, column {i} is {column[0]} throughout")
    return codes, factors


def whole_numbers(name: str, array: np.ndarray) -> Int[np.ndarray, "..."]:
    """As int64.

    Raises:
        ValueError: The dtype is another one.
    """
    require(array.dtype.kind in "biu", name, array.dtype.name, "whole numbers")
    return array.astype(np.int64)
