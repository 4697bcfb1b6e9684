"""These tests compile much and compute little."""

import jax
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache


def _set(cache, quickly):
    jax.config.update("jax_disable_most_optimizations", quickly)
    jax.config.update("jax_compilation_cache_dir", cache)
    # Whether there is a cache is decided at the first compilation of the process.
    reset_cache()


@pytest.fixture(autouse=True, scope="package")
def compile_quickly(tmp_path_factory):
    """Without most optimisations, and once where tests share a program."""
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    _set(str(tmp_path_factory.mktemp("programs")), True)
    yield
    _set(None, False)
