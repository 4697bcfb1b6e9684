"""Strict JAX on eight simulated devices, and shapes checked at run time."""

import ctypes
import gc
import os
from importlib.metadata import version
from pathlib import Path

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    # XLA's former code generator, gone in JAX 0.12, compiles in two thirds of the time.
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10.")
    # Small programs, on machines of few cores: not divided among threads.
    + " --xla_cpu_parallel_codegen_split_count=1"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Of the programs too that tests start.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_legacy_prng_key", "error")
# Eight devices are for the tests that ask for them.
jax.config.update("jax_default_device", jax.devices()[0])
# Most tests compile much and compute little: without most optimisations. Without a
# cache of programs on the disk too: it took longer than to compile them again.
jax.config.update("jax_disable_most_optimizations", True)

with install_import_hook("jaxae", "beartype.beartype"):
    from jaxae.training import programs

MEMORY = 1.8e9
"""Bytes that a worker may have before it forgets what it compiled."""


def pytest_collection_finish():
    """The garbage collector took a fifth of the time, most of it in what stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    """Compiled programs are some 2 MB each, and few are of use to other modules."""
    yield
    if resident_memory() > MEMORY:
        for kept in vars(programs).values():
            if hasattr(kept, "cache_clear"):
                kept.cache_clear()
        jax.clear_caches()
        gc.unfreeze()
    gc.collect()
    gc.freeze()
    # Back to the system, where the C library does not do so by itself.
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)


def resident_memory() -> int:
    """Bytes; none where the system does not say."""
    file = Path("/proc/self/statm")
    pages = int(file.read_text().split()[1]) if file.exists() else 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def optimized():
    """For tests of the compiled program itself."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
