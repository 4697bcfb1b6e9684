"""The notebooks: committed without outputs, and run from top to bottom."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

COLAB = Path(__file__).parents[1] / "colab"


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def execute(name: str, folder: Path) -> list[dict]:
    """All outputs of a notebook, as run by a user without an accelerator.

    In processes of their own: the notebooks choose the devices themselves, and have
    neither the strictness of the tests nor their errors for warnings.
    """
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "IPYTHONDIR": str(folder),
        "TMPDIR": str(folder),
    }
    for test_only in ("XLA_FLAGS", "PYTHONWARNINGS", "MPLBACKEND"):
        environment.pop(test_only, None)
    executed = folder / f"{name}.ipynb"
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "jupyter", "execute"),
            *(str(COLAB / f"{name}.ipynb"), f"--output={executed}"),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-5000:]
    return [out for cell in read(executed)["cells"] for out in cell.get("outputs", ())]


def printed(outputs: list[dict]) -> str:
    streams = [out for out in outputs if out["output_type"] == "stream"]
    return "".join("".join(out["text"]) for out in streams if out["name"] == "stdout")


def pictures(outputs: list[dict]) -> int:
    return sum("image/png" in out.get("data", {}) for out in outputs)


@pytest.mark.parametrize("name", ["quickstart", "tpu"])
def test_committed_without_outputs(name):
    notebook = read(COLAB / f"{name}.ipynb")
    assert notebook["nbformat"] == 4
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    on_tpu = notebook["metadata"].get("accelerator") == "TPU"
    assert on_tpu == (name == "tpu")
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in code)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.slow
def test_quickstart(tmp_path):
    outputs = execute("quickstart", tmp_path)
    text = printed(outputs)
    assert "all holds" in text  # its own checks
    assert pictures(outputs) == 7
    (before, after), (nll,) = (
        re.search(pattern, text).groups()
        for pattern in (
            r"([\d.]+) dB damaged, ([\d.]+) dB restored",
            r"-log p\(x\): ([\d.]+) nats",
        )
    )
    assert 9 < float(before) < float(after) - 3
    assert 80 < float(nll) < 140


@pytest.mark.slow
def test_tpu_on_simulated_devices(tmp_path):
    outputs = execute("tpu", tmp_path)
    text = printed(outputs)
    assert "8 × cpu (cpu)\nsimulated" in text
    assert pictures(outputs) == 2

    # Sharded: eight parts, and only small arrays are copied.
    assert re.search(r"encoder.Dense_0.kernel +784×256 +98×256\n", text)
    copied, sharded = map(float, re.findall(r": ([\d.]+) MB of parameters", text))
    assert 7 < copied / sharded < 9
    (difference,) = re.findall(r"losses of the two: (\S+) nats", text)
    assert float(difference) < 0.1

    mean, sd = map(float, re.search(r"8 seeds: ([\d.]+) ± ([\d.]+)", text).groups())
    assert 150 < mean < 250
    assert 0 < sd < 10

    speeds = re.findall(r"^(\d) × cpu: [\d,]+ examples/s", text, re.MULTILINE)
    assert speeds == ["1", "2", "4", "8"]
    assert "these speeds mean nothing" in text

    # The same epochs, whether in one go (first) or in two (last).
    epochs = re.findall(r"^epoch (\d): (.*) nats per image$", text, re.MULTILINE)
    assert [number for number, _ in epochs] == [*"12345"] * 3
    assert epochs[:5] == epochs[-5:]
    assert "2 epochs done, checkpoints of [1, 2]\ngoing on after epoch 2\n" in text
    assert "epochs [1, 2, 3, 4, 5]\nlargest difference to the uninterrupted" in text
