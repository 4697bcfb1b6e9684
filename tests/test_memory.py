"""What encoding and evaluation take of memory, for data larger than it."""

import os
import subprocess
import sys
import tracemalloc

import jax
import numpy as np
import pytest

import jaxae
from jaxae import preparation
from jaxae.evaluation import elbo_terms
from jaxae.inputs import check_data

COUNT, FEATURES, LATENTS = 700_000, 768, 32

ENCODE = """
import sys, threading, time
import jax, numpy as np
import jaxae
from jaxae.inference import BLOCK

x = np.load(sys.argv[1], mmap_mode="r")
network = jaxae.networks.FullyConnected((128,))
recipe = jaxae.recipes.vae(
    x.shape[1:], int(sys.argv[2]), network=network, likelihood="gaussian"
)
model = jaxae.init(recipe, jax.random.key(0))
key = jax.random.key(0)
jaxae.encode(model, x[: BLOCK + 1])
jaxae.evaluation.elbo_terms(model, x[: BLOCK + 1], key)

def used():  # without what is mapped
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if "RssAnon" in line) * 1024

def grown(function):
    done, most, before = threading.Event(), [0], used()

    def watch():
        while not done.wait(0.005):
            most.append(used())

    thread = threading.Thread(target=watch)
    thread.start()
    result = function()
    done.set()
    thread.join()
    return result, max(most) - before

codes, most = grown(lambda: jaxae.encode(model, x).block_until_ready())
_, judged = grown(lambda: jaxae.evaluation.elbo_terms(model, x, key))
print(most, codes.nbytes, x[:BLOCK].nbytes, judged)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_map_of_two_gigabytes_takes_little_memory(tmp_path):
    path = tmp_path / "x.npy"
    shape = (COUNT, FEATURES)
    x = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    rng = np.random.default_rng(0)
    for start in range(0, COUNT, 10_000):
        x[start : start + 10_000] = rng.normal(size=(10_000, FEATURES))
    x.flush()
    command = [sys.executable, "-c", ENCODE, str(path), str(LATENTS)]
    # Compiled as users have it.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XLA", "JAX"))}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    grown, codes, chunk, judged = map(int, done.stdout.split())
    print(
        f"{x.nbytes / 1e9:.2f} GB: {grown / 1e6:.0f} MB more, codes {codes / 1e6:.0f}, "
        f"judged in {judged / 1e6:.0f}"
    )
    assert codes == 4 * COUNT * LATENTS
    assert grown < 2 * codes + chunk
    assert judged < 4 * chunk + 16 * COUNT  # keys and three numbers of each


@pytest.mark.parametrize(
    "prepare", [preparation.unit_interval, preparation.Standardize(0.5, 0.25)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_data_are_checked_without_a_copy(prepare, dtype):
    recipe = jaxae.recipes.vae((1024, 1), 2, likelihood="gaussian")
    x = np.ones((32 * 1024, 1024, 1), dtype)
    x[-1] = 3
    tracemalloc.start()
    checked = check_data(recipe.replace(prepare=prepare), x, "x")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < x.nbytes / 2 and checked["x"] is x


def test_all_blocks_are_judged_as_one():
    x = np.random.default_rng(0).normal(size=(53, 6)).astype(np.float32)
    network = jaxae.networks.FullyConnected((4,))
    recipe = jaxae.recipes.vae((6,), 2, network=network, likelihood="gaussian")
    key = jax.random.key(0)
    model = jaxae.init(recipe, key)
    whole, parts = (elbo_terms(model, x, key, chunk=chunk) for chunk in (53, 3))
    for name, values in whole.items():
        np.testing.assert_allclose(parts[name], values, rtol=1e-5, atol=1e-6)
