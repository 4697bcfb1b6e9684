"""Which pixels of x the pixels of y see through which taps of a kernel."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from jaxtyping import Array

Pads = tuple[int, int]
"""Before and after, along one axis."""
Pair = tuple[int, int]
"""For the rows and for the columns."""


class Geometry(NamedTuple):
    """What a convolution is, but for its values.

    Attributes:
        stride: In pixels of x.
        rows: Rows of zeros above and below x; cropped where negative.
        columns: Columns of zeros to the left and to the right.
        image: Height and width of x.
        kernel: Height and width of the kernel.
        swapped: The kernel is [kh, kw, o, c], as those of transposed convolutions are.
    """

    stride: int
    rows: Pads
    columns: Pads
    image: Pair
    kernel: Pair
    swapped: bool = False

    @property
    def reduced(self) -> Pair:
        """Height and width of y."""
        pads = self.rows, self.columns
        rows, columns = (
            max(0, (size + sum(pad) - taps) // self.stride + 1)
            for size, pad, taps in zip(self.image, pads, self.kernel, strict=True)
        )
        return rows, columns

    @property
    def taps(self) -> list[Pair]:
        """The kernel's places, row by row."""
        rows, columns = self.kernel
        return list(itertools.product(range(rows), range(columns)))

    @property
    def meetings(self) -> Iterator["Meeting"]:
        """Where the taps that meet x at all do so, row by row."""
        for i, j in self.taps:
            starts, sizes = self.first(i, j), zip(self.image, self.reduced, strict=True)
            (x, y), (u, v) = (
                _meet(first, *size, self.stride)
                for first, size in zip(starts, sizes, strict=True)
            )
            if y.start < y.stop and v.start < v.stop:
                yield Meeting((i, j), (slice(None), x, u), (slice(None), y, v))

    @property
    def live(self) -> tuple[slice, slice]:
        """The taps that see more than zeros, along both axes."""
        pads, sizes = (self.rows, self.columns), (self.image, self.reduced)
        rows, columns = (
            slice(
                max(0, pad[0] - self.stride * (last - 1)), max(1, min(k, size + pad[0]))
            )
            for pad, size, last, k in zip(pads, *sizes, self.kernel, strict=True)
        )
        return rows, columns

    @property
    def phase_size(self) -> Pair:
        """Height and width of the largest phase."""
        (h, w), s = self.image, self.stride
        return -(-h // s), -(-w // s)

    def crop(self, rows: slice, columns: slice) -> "Geometry":
        """With only these taps."""
        (kh, kw), (top, bottom), (left, right) = self.kernel, self.rows, self.columns
        return self._replace(
            rows=(top - rows.start, bottom - (kh - rows.stop)),
            columns=(left - columns.start, right - (kw - columns.stop)),
            kernel=(rows.stop - rows.start, columns.stop - columns.start),
        )

    @property
    def folded(self) -> tuple["Geometry", Pads]:
        """With stride 1, the phases of the columns being channels.

        Rows of y that the stride leaves out are to be taken out of the result. The
        kernel first needs so many more taps of zeros, on the left and on the right.
        """
        (h, w), (kh, kw), (m, n), s = self.image, self.kernel, self.reduced, self.stride
        before = -self.columns[0] % s
        after = -(before + kw) % s
        left, width = (self.columns[0] + before) // s, -(-w // s)
        taps = (before + kw + after) // s
        rows = self.rows[0], s * (m - 1) + kh - h - self.rows[0]
        columns = left, n - 1 + taps - width - left
        return Geometry(1, rows, columns, (h, width), (kh, taps)), (before, after)

    @property
    def phases(self) -> Iterator["Phase"]:
        """All of them, row by row."""
        s = self.stride
        for f, g in itertools.product(range(s), repeat=2):
            yield Phase(
                f,
                g,
                range((f + self.rows[0]) % s, self.kernel[0], s),
                range((g + self.columns[0]) % s, self.kernel[1], s),
            )

    @property
    def channels(self) -> str:
        """Those of a tap as it is kept, in einsum's letters.

        XLA is slow at swapping those of a large kernel, and einsum needs no swap.
        """
        return "oc" if self.swapped else "co"

    def plain(self, kernel: Array) -> Array:
        """[kh, kw, c, o] for a kernel as it is kept, and the other way round."""
        return kernel.swapaxes(2, 3) if self.swapped else kernel

    def first(self, i: int, j: int) -> Pair:
        """The pixel of x that meets the first pixel of y through tap (i, j)."""
        return i - self.rows[0], j - self.columns[0]


class Meeting(NamedTuple):
    """A tap, the pixels of y that see x through it, and those of x that they see."""

    tap: Pair
    x: tuple[slice, slice, slice]
    y: tuple[slice, slice, slice]

    @property
    def in_phase(self) -> tuple[Pair, tuple[slice, slice, slice]]:
        """The phase of these pixels of x, and where in it they are."""
        batch, *axes = self.x
        row, column = (axis.start % axis.step for axis in axes)
        rows, columns = (
            slice(axis.start // axis.step, (axis.stop - 1) // axis.step + 1)
            for axis in axes
        )
        return (row, column), (batch, rows, columns)


def _meet(first: int, size: int, count: int, stride: int) -> tuple[slice, slice]:
    """Along one axis: the pixels first + stride m that are in x, and these m."""
    start = max(0, -(first // stride))
    stop = min(count, (size - 1 - first) // stride + 1)
    last = first + stride * (stop - 1)
    return slice(first + stride * start, last + 1, stride), slice(start, stop)


class Phase(NamedTuple):
    """Every s-th pixel of x from (row, column) on, and the taps that meet it."""

    row: int
    column: int
    i: range
    j: range

    @property
    def taps(self) -> Iterator[Pair]:
        """Row by row."""
        return itertools.product(self.i, self.j)

    def shift(self, geometry: Geometry, i: int, j: int) -> Pair:
        """The pixel of the phase that meets the first pixel of y through a tap."""
        row, column = geometry.first(i, j)
        s = geometry.stride
        return (row - self.row) // s, (column - self.column) // s
