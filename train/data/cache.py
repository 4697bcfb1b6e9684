"""Decoded arrays on disk, as plain `.npy` files that are mapped into memory.

Entries are independent; any of them may be deleted at any time.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
import tempfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

CHECKSUMS = "checksums.json"


def default_folder() -> Path | None:
    """$JAXAE_CACHE, else jaxae in $XDG_CACHE_HOME, else in ~/.cache.

    None, with a warning, for a user without a home, as there are in containers.
    """
    try:
        if folder := os.environ.get("JAXAE_CACHE"):
            return Path(folder).expanduser()
        base = os.environ.get("XDG_CACHE_HOME", "")
        # The XDG specification says to ignore a relative path.
        cache = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    except RuntimeError:
        _tell_of_no_home()
        return None
    return cache / "jaxae"


@functools.cache  # once: a program asks for the folder several times
def _tell_of_no_home() -> None:
    remedy = "set JAXAE_CACHE to a directory"
    message = f"going on without a cache: there is no home directory; {remedy}"
    warnings.warn(message, stacklevel=3)


def cached(
    folder: Path | None, name: str, key: Any, build: Callable[[], Arrays]
) -> Arrays:
    """The arrays that `build` makes, from the disk if they are there and intact.

    A damaged entry is made again. A folder that cannot be written costs a warning.

    Args:
        folder: Of the whole cache; None for no cache.
        name: For people, in the name of the entry.
        key: JSON values; what they do not tell apart is taken to be the same.
        build: Called when there is no intact entry.
    """
    if folder is None:
        return build()
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    readable = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII)[:40]
    entry = folder / f"{readable}-{digest[:20]}"
    if (arrays := _read(entry)) is not None:
        return arrays
    arrays = build()
    try:
        _write(entry, arrays)
    except OSError as error:
        warnings.warn(f"going on without the cache: {error}", stacklevel=2)
        return arrays
    # Mapped like on every later start; the copy in memory can go.
    return _read(entry) or arrays


def _read(entry: Path) -> Arrays | None:
    """The mapped arrays of an entry, or None if it is absent or damaged."""
    try:
        checksums = json.loads((entry / CHECKSUMS).read_text("utf-8"))
        if any(_checksum(entry / file) != checksums[file] for file in checksums):
            return None
        return {
            file.removesuffix(".npy"): np.load(entry / file, mmap_mode="r")
            for file in checksums
        } or None
    except (OSError, ValueError, TypeError):
        return None


def _checksum(path: Path) -> int:
    return zlib.crc32(np.memmap(path, np.uint8, "r").data)


def _write(entry: Path, arrays: Arrays) -> None:
    """Writes an entry in a folder of its own, which then takes its place as a whole.

    Several processes may do this at once: each of them leaves an intact entry behind.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".new-") as temporary:
        new = Path(temporary, "new")
        new.mkdir()
        for name, array in arrays.items():
            np.save(new / f"{name}.npy", array, allow_pickle=False)
        checksums = {path.name: _checksum(path) for path in sorted(new.iterdir())}
        (new / CHECKSUMS).write_text(json.dumps(checksums), encoding="utf-8")
        if _read(entry) is None:
            with contextlib.suppress(FileNotFoundError):
                entry.rename(Path(temporary, "damaged"))
            try:
                new.rename(entry)
            except OSError:
                if _read(entry) is None:  # else another process was faster
                    raise
