"""The comparison of families on drawn shapes, with few of both."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxae.errors import ArgumentError
from jaxae.networks import FullyConnected
from train import disentangle as package
from train.disentangle import study as study_module
from train.disentangle.report import TITLES, report, table, words
from train.disentangle.study import METHODS, compare
from train.errors import RunError

# One, whose options follow from the data too.
FEW = {"β-TC-VAE": METHODS["β-TC-VAE"]}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(directory, what was found)."""
    out = tmp_path_factory.mktemp("disentangle") / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(study_module, "NETWORK", FullyConnected((8,)))
        patch.setattr(study_module, "LATENT_DIM", 4)
        return out, compare(out, 2, 1, 200, FEW)


def test_every_family_has_every_score_of_every_seed(compared):
    out, study = compared
    assert study == json.loads((out / "scores.json").read_text("utf-8"))
    assert study["train_size"] == study["scored"] == 200
    assert list(study["methods"]) == list(FEW)
    for method in study["methods"].values():
        assert method["scores"].keys() == TITLES.keys()
        for name, values in method["scores"].items():
            one, other = values
            assert name == "distortion_nats" or 0 <= min(values) <= max(values) <= 1
            assert one != other or name in ("disentanglement", "completeness", "sap")
    assert "BetaTCVAE(data_size=200, beta=6.0" in study["methods"]["β-TC-VAE"]["recipe"]


def test_the_table_and_the_picture_show_all_of_them(compared, capsys):
    out, study = compared
    report(out, study)
    printed = capsys.readouterr().out
    assert all(title in printed for title in TITLES.values())
    for name, unit in (("linear_probe", 0.01), ("distortion_nats", 1.0)):
        for method in study["methods"].values():
            assert words(method["scores"][name], unit) in printed
    with Image.open(out / "scores.png") as image:
        assert np.asarray(image.convert("L")).std() > 5


def test_the_mean_and_the_deviation_in_words():
    assert words([0.1, 0.3], 0.01) == "20.0 ± 14.1"
    assert words([0.25], 0.01) == "25.0"
    assert words([100.0, 102.0, 104.0], 1.0) == "102.0 ± 2.0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, None), "^--seeds must be a whole number of at least 1"),
        ((1, 0, None), "^--epochs must be"),
        ((1, 1, 199), "^--examples must be a whole number of at least 200"),
    ],
)
def test_numbers_that_are_too_small_are_named(tmp_path, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        compare(tmp_path / "new", *arguments)
    assert not (tmp_path / "new").exists()


def test_what_was_begun_goes_on_and_nothing_is_lost(compared, tmp_path, monkeypatch):
    out, study = compared
    (tmp_path / "scores.json").write_text((out / "scores.json").read_text("utf-8"))
    (tmp_path / "scores.png").touch()
    monkeypatch.setattr(study_module, "_trained", None)  # nothing is to be trained
    assert compare(tmp_path, 2, 1, 200, FEW) == study
    assert not (tmp_path / "scores.png").exists()  # until it is drawn anew
    with pytest.raises(RunError, match=r"scores\.json: has 2 seeds, not 3"):
        compare(tmp_path, 3, 1, 200, FEW)
    (tmp_path / "scores.json").write_text("[")
    with pytest.raises(RunError, match="is damaged"):
        compare(tmp_path, 2, 1, 200, FEW)


def test_the_page_has_the_scores_that_are_kept():
    folder = Path(package.__file__).parent
    study = json.loads((folder / "scores.json").read_text("utf-8"))
    assert list(study["methods"]) == list(METHODS)
    page = (folder.parent / "README.md").read_text("utf-8")
    assert f"`--epochs {study['epochs']}`, scores in hundredths" in page
    for cells in [["", *METHODS], *table(study)]:
        assert f"| {' | '.join(cells)} |" in page
