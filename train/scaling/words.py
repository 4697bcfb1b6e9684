"""Numbers as people read them."""


def size(count: float) -> str:
    """Bytes, in powers of a thousand."""
    for unit, each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= each:
            return f"{count / each:.3g} {unit}"
    return f"{count:.0f} B"


def seconds(value: float) -> str:
    """A duration."""
    for unit, each in (("s", 1.0), ("ms", 1e-3)):
        if value >= each:
            return f"{value / each:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs" if value else "0 s"


def percent(fraction: float) -> str:
    """With a digit after the point where it matters."""
    return f"{fraction:.0%}" if fraction >= 0.1 else f"{fraction:.1%}"
