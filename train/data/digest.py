"""By what data are recognised wherever they lie."""

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

from train.data.rows import LazyRows, chunks
from train.data.types import LazySplit, Split

SAMPLED = 1000
"""Of images that are not read, so many are looked at."""

Digests = tuple[str, ...]
"""A line for every field that there is: its name and a SHA-256."""


def digests(parts: Mapping[str, Split | LazySplit]) -> Digests:
    """Of all parts of a data set, before it is divided further."""
    found = {}
    for part, split in sorted(parts.items()):
        for field, values in split._asdict().items():
            if values is None:
                continue
            own = found.setdefault(field, hashlib.sha256())
            own.update(f"{part} {values.dtype.str} {list(values.shape)} ".encode())
            for chunk in _looked_at(values):
                own.update(np.ascontiguousarray(chunk).tobytes())
    return tuple(f"{field} {own.hexdigest()}" for field, own in sorted(found.items()))


def _looked_at(values: np.ndarray | LazyRows) -> Iterable[np.ndarray]:
    if not isinstance(values, LazyRows) or len(values) <= SAMPLED:
        return chunks(values)
    spread = np.linspace(0, len(values) - 1, SAMPLED).round().astype(np.int64)
    return [values[spread]]


def short(all_digests: Digests) -> str:
    """Eight letters for all of them."""
    return hashlib.sha256("\n".join(all_digests).encode()).hexdigest()[:8]


def differing(one: Digests, other: Digests) -> list[str]:
    """The fields that are not the same, or are there in one alone."""
    return sorted({line.split()[0] for line in {*one} ^ {*other}})
