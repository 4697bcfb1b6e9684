"""By what data are recognised wherever they lie."""

import hashlib
from collections.abc import Mapping

from train.data.rows import LazyRows, chunks
from train.data.types import LazySplit, Split

Digests = tuple[str, ...]
"""A line for every field that there is: its name and a SHA-256."""


def digests(parts: Mapping[str, Split | LazySplit]) -> Digests:
    """What identifies all parts of a data set, before it is divided further."""
    found = {}
    for part, split in sorted(parts.items()):
        for field, values in split.arrays().items():
            own = found.setdefault(field, hashlib.sha256())
            own.update(f"{part} {values.dtype.str} {list(values.shape)} ".encode())
            if isinstance(values, LazyRows):
                own.update(values.digest.encode())
                continue
            for chunk in chunks(values):
                own.update(chunk.tobytes())
    return tuple(f"{field} {own.hexdigest()}" for field, own in sorted(found.items()))


def short(all_digests: Digests) -> str:
    """Eight letters for all of them."""
    return hashlib.sha256("\n".join(all_digests).encode()).hexdigest()[:8]


def differing(one: Digests, other: Digests) -> list[str]:
    """The fields that are not the same, or are there in one alone."""
    return sorted({line.rpartition(" ")[0] for line in {*one} ^ {*other}})
