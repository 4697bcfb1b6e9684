"""What encoding takes of memory, for data larger than it."""

import os
import subprocess
import sys

import numpy as np
import pytest

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
jaxae.encode(model, x[: BLOCK + 1])

def used():  # without what is mapped
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if "RssAnon" in line) * 1024

done, most, before = threading.Event(), [0], used()

def watch():
    while not done.wait(0.005):
        most.append(used())

thread = threading.Thread(target=watch)
thread.start()
codes = jaxae.encode(model, x).block_until_ready()
done.set()
thread.join()
print(max(most) - before, codes.nbytes, x[:BLOCK].nbytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_map_of_two_gigabytes_is_encoded_in_little_memory(tmp_path):
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
    grown, codes, chunk = map(int, done.stdout.split())
    print(
        f"{x.nbytes / 1e9:.2f} GB: {grown / 1e6:.0f} MB more, codes {codes / 1e6:.0f}"
    )
    assert codes == 4 * COUNT * LATENTS
    assert grown < 2 * codes + chunk
