"""Numbers and choices as people read them."""

WORDS = {
    "data": "data parallel",
    "fsdp": "fully sharded",
    "strong": "strong scaling: the batch stays",
    "weak": "weak scaling: the batch per device stays",
}


def size(count: float) -> str:
    """Bytes, in powers of a thousand."""
    return _scaled(count, {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1.0})


def seconds(value: float) -> str:
    """A duration."""
    return _scaled(value, {"s": 1.0, "ms": 1e-3, "µs": 1e-6}) if value else "0 s"


def _scaled(value: float, units: dict[str, float]) -> str:
    """In the largest unit of which there is one at least, else in the last."""
    value = float(f"{value:.3g}")  # 999.9 of a unit are one of the next
    fitting = (unit for unit, each in units.items() if value >= each)
    unit = next(fitting, list(units)[-1])
    return f"{value / units[unit]:.3g} {unit}"


def percent(fraction: float) -> str:
    """With a digit after the point where it matters."""
    return f"{fraction:.0%}" if fraction >= 0.1 else f"{fraction:.1%}"
