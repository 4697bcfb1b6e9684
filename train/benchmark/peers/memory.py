"""The memory of JAX's device, for the peers that are made of JAX."""

import jax


def device_peak() -> int | None:
    """Bytes in use at most; None where the device does not say."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use")
