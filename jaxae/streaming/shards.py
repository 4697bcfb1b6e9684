"""Several files or arrays as one data set that need not fit in memory."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxae.checks import check_count
from jaxae.errors import ArgumentError, ensure, kind_of, require
from jaxae.inputs import check_unmasked, unmasked
from jaxae.streaming.batches import shuffled_batches


class Shards:
    """Several sources of examples as one data set, shuffled across all of them.

    As data for `jaxae.fit`, whose epochs are passes over all examples. A batch is read
    when its turn comes, a few of them ahead; what stays in memory beside those are no
    examples. The order of a pass follows from the seed and the pass alone, so that a
    training which is resumed goes on in it. Validation data, evaluation, `encode` and
    `reconstruct` take them too, in the order of the sources: `encode` reads a few at a
    time, the others all.

    Args:
        sources: Of each shard one of: an array or memory map [n, *shape], or one of
            `numpy.ma`; a mapping of such arrays, as for `fit`, with the examples as "x"
            and "missing" as an array or "nan"; a `.npy` file; a `.safetensors` file
            with tensors of these names.
        batch_size: Examples of a batch; the last one of a pass has what is left.
        seed: Of the order.

    Raises:
        ValueError: There is no shard, a file cannot be read, or the shards differ in
            their arrays, in the shape of an example or in dtype.
        ImportError: Grain is not installed, which reads ahead (`jaxae[stream]`); when
            the first batch is read.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> rng = np.random.default_rng(0)
        >>> days = [rng.random((n, 6), np.float32) for n in (20, 15)]
        >>> data = jaxae.Shards(days, batch_size=10)
        >>> recipe = jaxae.recipes.vae((6,), 2, likelihood="gaussian")
        >>> key = jax.random.key(0)
        >>> fitted = jaxae.fit(recipe, data, key=key, epochs=2, progress=False)
        >>> len(data), data.steps_per_epoch, int(fitted.state.step)
        (35, 4, 8)
    """

    def __init__(
        self, sources: Sequence[Any], *, batch_size: int = 100, seed: int = 0
    ) -> None:
        """Opens them; nothing is read yet."""
        listed = isinstance(sources, Sequence) and not isinstance(sources, str)
        came = sources if listed else kind_of(sources)
        require(listed and sources, "sources", came, "a list of at least one")
        check_count("batch_size", batch_size)
        require(isinstance(seed, int | np.integer), "seed", seed, "a whole number")
        self.batch_size, self.seed = batch_size, seed
        shards = [_opened(source, f"sources[{i}]") for i, source in enumerate(sources)]
        if any("missing" in shard for shard in shards):
            # Of those that do not say, all is known; without memory for each value.
            known = [np.broadcast_to(False, shard["x"].shape) for shard in shards]
            pairs = zip(known, shards, strict=True)
            shards = [{"missing": none, **shard} for none, shard in pairs]
        for i, shard in enumerate(shards):
            first, came = sorted(shards[0]), sorted(shard)
            ensure(first == came, f"sources[{i}] must have {first}, got {came}")
        self.rows = {name: _Joined(name, shards) for name in shards[0]}

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.rows["x"])

    @property
    def steps_per_epoch(self) -> int:
        """Batches of a pass."""
        return -(-len(self) // self.batch_size)

    def __call__(self, done: int = 0) -> Iterator[Any]:
        """Batches without end, from the one after so many."""
        return shuffled_batches(self.rows, self.batch_size, self.seed, first=done)


def _opened(source: Any, name: str) -> dict[str, Any]:
    """Arrays, or what has rows by number like them, by field."""
    if isinstance(source, str | Path):
        source = _file(Path(source).expanduser(), name)
    arrays = dict(source) if isinstance(source, Mapping) else {"x": source}
    ensure("x" in arrays, f"{name} must have an 'x', got {sorted(arrays)}")
    missing = arrays.pop("missing", None)
    x, missing = unmasked(arrays["x"], missing, name)
    rows = {field: _rows(values) for field, values in (arrays | {"x": x}).items()}
    if isinstance(missing, str):
        require(missing == "nan", f"{name}['missing']", missing, "an array, or 'nan'")
        rows["missing"] = _NaN(rows["x"])
    elif missing is not None:
        rows["missing"] = _rows(missing)
    for field, values in rows.items():
        own = f"{name}[{field!r}]"
        check_unmasked(values, own)
        unnamed = values.dtype.type is np.void
        remedy = "save it as float32, or in a .safetensors file, which keeps the type"
        wrote = f"{own} is of {values.dtype}, as a .npy file has bfloat16: {remedy}"
        ensure(not unnamed, wrote)
        numbers = values.dtype.kind not in "OSU" or field == "label"
        require(numbers, own, str(values.dtype), "numbers")
    lengths = {field: values.shape[:1] for field, values in rows.items()}
    same = len(set(lengths.values())) == 1 and lengths["x"] > (0,)
    ensure(same, f"{name} must have arrays of one length above 0, got {lengths}")
    return rows


def _rows(values: Any) -> Any:
    """An array, masked or mapped as it came; or a tensor of a file."""
    return values if isinstance(values, _Tensor) else np.asanyarray(values)


def _file(path: Path, name: str) -> Any:
    """What a file holds, mapped into memory."""
    kind, kinds = path.suffix.lower(), "a .npy or .safetensors file, or arrays"
    require(kind in (".npy", ".safetensors"), name, str(path), kinds)
    try:
        if kind == ".npy":
            return np.load(path, mmap_mode="r")
        tensors = safe_open(path, framework="np")
        return {field: _Tensor(tensors.get_slice(field)) for field in tensors.keys()}
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise ArgumentError(f"{name}: {path} is not readable ({error})") from error


class _Tensor:
    """A tensor of a safetensors file, which gives slices alone."""

    def __init__(self, tensor: Any) -> None:
        self.shape, self._tensor = tuple(tensor.get_shape()), tensor
        # Of nothing it gives no slice, which would say.
        some = self.shape[:1] > (0,)
        self.dtype = tensor[0:1].dtype if some else np.dtype(np.float32)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        return np.concatenate([self._tensor[int(i) : int(i) + 1] for i in rows])


class _NaN:
    """Where x is NaN, by the numbers of the rows."""

    def __init__(self, x: Any) -> None:
        self.shape, self.dtype, self._x = x.shape, np.dtype(bool), x

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        return np.isnan(self._x[rows])


class _Joined:
    """One field of all shards, by the numbers of the rows in all of them."""

    def __init__(self, name: str, shards: Sequence[Mapping[str, Any]]) -> None:
        self._parts = [shard[name] for shard in shards]
        first = self._parts[0]
        for i, part in enumerate(self._parts):
            form = (part.shape[1:], part.dtype)
            alike = f"{first.dtype} of shape [n, *{first.shape[1:]}] as the first one"
            require(
                form == (first.shape[1:], first.dtype),
                f"sources[{i}][{name!r}]",
                f"{part.dtype} of shape {part.shape}",
                alike,
            )
        self._ends = np.cumsum([part.shape[0] for part in self._parts])
        self.shape = (int(self._ends[-1]), *first.shape[1:])
        self.dtype = first.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray | slice, /) -> np.ndarray:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        shard = np.searchsorted(self._ends, rows, side="right")
        chosen = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for i in np.unique(shard):
            own = shard == i
            part = self._parts[i]
            chosen[own] = part[rows[own] - (self._ends[i] - part.shape[0])]
        return chosen
