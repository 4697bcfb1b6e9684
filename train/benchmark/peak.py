"""`python -m train.benchmark.peak`: the FLOP/s of float32 matrix products, by XLA.

At JAX's default precision, so that an accelerator may round the factors as it does in
training. The best of several square products is printed.
"""

import subprocess
import sys
import time

SIDES = (1024, 2048, 4096)
SECONDS = 1.0


def measure() -> float:
    """In a process of its own, so that this one holds no device."""
    command = [sys.executable, "-m", "train.benchmark.peak"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def best(side: int) -> float:
    """FLOP/s of the fastest of the products that fit into `SECONDS`, at least two."""
    import jax
    import jax.numpy as jnp

    a = jax.random.normal(jax.random.key(0), (side, side))
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    times: list[float] = []
    while len(times) < 2 or sum(times) < SECONDS:
        start = time.perf_counter()
        jax.block_until_ready(product(a, a))
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)


if __name__ == "__main__":
    print(max(best(side) for side in SIDES))
