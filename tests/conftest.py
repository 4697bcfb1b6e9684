"""Strict JAX on eight simulated devices, and shapes checked at run time."""

import ctypes
import gc
import importlib
import os
from functools import partial
from importlib.metadata import version
from pathlib import Path

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    # XLA's former code generator, gone in JAX 0.12, compiles in two thirds of the time.
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10.")
    # Small programs, on machines of few cores: not divided among threads, and
    # sooner compiled than fast.
    + " --xla_cpu_parallel_codegen_split_count=1 --xla_cpu_opt_preset=FAST_COMPILE"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Of the programs too that tests start.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

import jax
import jaxtyping
import pytest

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
if WORKER and hasattr(os, "sched_setaffinity"):
    # Each has a core of its own, and the one thread that small programs are worth.
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(WORKER.removeprefix("gw")) % len(cores)]})

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_legacy_prng_key", "error")
# Eight devices are for the tests that ask for them.
jax.config.update("jax_default_device", jax.devices()[0])
# Most tests compile much and compute little: without most optimisations. Without a
# cache of programs on the disk too: it took longer than to compile them again.
jax.config.update("jax_disable_most_optimizations", True)
# Nor do they look at where in the code an operation of a program is from.
jax.config.update("jax_traceback_in_locations_limit", 0)

decorate, decorated = jaxtyping.jaxtyped, set()


def checked(function=None, *, typechecker):
    """Shapes and types are checked; those of a closure, the first time it is made.

    To write the checks takes a millisecond, and some functions are made at every call.
    """
    if function is None:
        return partial(checked, typechecker=typechecker)
    code = getattr(function, "__code__", function)
    if code in decorated:
        return function
    decorated.add(code)
    return decorate(function, typechecker=typechecker)


LIBC = ctypes.CDLL(None)
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # malloc.h
if hasattr(LIBC, "mallopt"):
    # What is freed is kept for the next compilation, and given back when it is much.
    LIBC.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    LIBC.mallopt(MMAP_THRESHOLD, 2**30)
    LIBC.mallopt(TOP_PAD, 2**26)

MEMORY = 1.5e9
"""Bytes that a worker may have before it forgets what it compiled.

With 2.4e9 there is less to compile again, and all of it took a tenth longer.
"""


def pytest_sessionstart(session):
    """The library with its shapes checked, which who but hands out tests needs not."""
    if not getattr(session.config.option, "numprocesses", None):
        jaxtyping.jaxtyped = checked
        with jaxtyping.install_import_hook("jaxae", "beartype.beartype"):
            importlib.import_module("jaxae")


def pytest_collection_finish():
    """The garbage collector took a fifth of the time, most of it in what stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 1_000)


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    """Compiled programs are some 2 MB each, and few are of use to other modules."""
    yield
    if resident_memory() > MEMORY:
        from jaxae.training import programs

        for kept in vars(programs).values():
            if hasattr(kept, "cache_clear"):
                kept.cache_clear()
        jax.clear_caches()
        gc.collect()
        # What nothing refers to: to the C library, and from it to the system.
        getattr(LIBC, "malloc_trim", int)(0)
        gc.freeze()


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


@pytest.fixture(scope="module")
def as_users_call_it():
    """Without the checks of shapes and types, which would come before those tested."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
