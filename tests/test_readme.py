"""What the READMEs show: commands and options exist, and the code runs."""

import dataclasses
import re
import shlex
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest
import tyro

import jaxae
from jaxae import recipes
from train import apply, compress, decompress, evaluate, export
from train.__main__ import parse
from train.benchmark import __main__ as benchmark
from train.benchmark import convolutions, seeds
from train.data.__main__ import main as describe
from train.disentangle import __main__ as disentangle
from train.options import Plan, flat
from train.presets import PRESETS
from train.reproduce import __main__ as reproduce
from train.scaling import arguments as scaling

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "train/README.md", "train/benchmark/README.md")
ARGUMENTS = {
    "train.apply": apply.Arguments,
    "train.benchmark": benchmark.Arguments,
    "train.benchmark.convolutions": convolutions.Arguments,
    "train.benchmark.seeds": seeds.Arguments,
    "train.compress": compress.Arguments,
    "train.data": describe,
    "train.decompress": decompress.Arguments,
    "train.disentangle": disentangle.Arguments,
    "train.evaluate": evaluate.Arguments,
    "train.export": export.Arguments,
    "train.reproduce": reproduce.Arguments,
}
# What stands in a command for something of the reader's.
STANDS_FOR = {
    "PRESET": "vae",
    "CASE": "mlp-100",
    "ROW": "pca-30",
    "TASK": "score",
    "N": "3",
}


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.M | re.S)


def inline(page):
    """What stands in backticks, in one line each."""
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.M | re.S)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def commands():
    """The arguments after `python -m` of every command, each once."""
    found = {}
    for page in PAGES:
        lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
        parts = [part for line in lines for part in line.split("&&")]
        for code in [*parts, *inline(page)]:
            words = shlex.split(code)
            if words[:2] == ["python", "-m"] and words[2].startswith("train"):
                found[" ".join(words[2:])] = page
    return list(found)


def choices(word):
    """A command's word, or each of those that it may be."""
    word = word.strip("[]")
    return (
        []
        if word == "..."
        else [STANDS_FOR.get(each, each) for each in word.split("|")]
    )


def run_parser(program, arguments):
    if program == "train":
        return parse(arguments)
    if program == "train.scaling":
        return scaling.parse(arguments)
    return tyro.cli(ARGUMENTS[program], args=arguments)


def test_there_are_commands():
    programs = {command.partition(" ")[0] for command in commands()}
    assert programs >= {"train", "train.scaling", *ARGUMENTS} - {"train.data"}


@pytest.mark.parametrize("command", commands())
def test_commands_name_presets_and_options_that_there_are(command, monkeypatch):
    program, *words = command.split()
    if program == "train.data":  # a function, which would run
        (source,) = words
        assert not source.startswith("-")
        return
    alternatives = filter(None, map(choices, words))
    for arguments in product(*alternatives):
        try:
            run_parser(program, list(arguments))
        except SystemExit as ended:
            assert "--help" in arguments and ended.code == 0, arguments


def tables(page):
    """(cells of the header, rows of cells) of every table."""
    for lines in re.findall(r"(?:^\|.*\n)+", text_of(page), re.M):
        rows = [
            [cell.strip() for cell in line.strip().strip("|").split("|")]
            for line in lines.splitlines()
        ]
        yield rows[0], rows[2:]


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_presets_in_tables_are_all_that_there_are():
    for page, column in (("README.md", "`python -m train`"), (PAGES[1], "command")):
        shown = []
        for header, rows in tables(page):
            if header[0] == column:
                shown += [name for row in rows for name in names(row[0])]
        presets = {name.removeprefix("python -m train ") for name in shown}
        assert presets == set(PRESETS)


def test_recipes_in_the_table_are_those_of_the_presets():
    (rows,) = [rows for header, rows in tables("README.md") if len(header) == 4]
    for row in rows:
        shown = {getattr(recipes, name) for name in names(row[1])}
        assert shown == {PRESETS[name].family for name in names(row[0])}
    shown = {name for row in rows for name in names(row[1])}
    assert shown == {family.__name__ for family in recipes.FAMILIES}


def flags():
    """Every option of every program."""
    fields = {
        field.name
        for arguments in [*ARGUMENTS.values(), scaling.Arguments]
        if dataclasses.is_dataclass(arguments)
        for field in dataclasses.fields(arguments)
    }
    configured = {name for each in PRESETS.values() for name in flat(each.config())}
    known = {name.replace("_", "-") for name in fields | configured | {"help"}}
    return {f"--{own}{name}" for name in known for own in ("", "no-")}


@pytest.mark.parametrize("page", PAGES[1:])
def test_options_are_there_and_their_words_make_parts(page):
    known = flags()
    options = [code for code in inline(page) if code.startswith("--")]
    assert options
    for option in options:
        flag, *values = option.split()
        if "*" in flag:
            continue
        assert flag in known, option
        assert all(word in known for word in values if word.startswith("--")), option
        if flag.startswith("--model.") and values:
            assert makes_a_recipe(flag, values), option


def makes_a_recipe(flag, values):
    """Whether a preset that has the option takes these values."""
    name = flag.removeprefix("--model.").replace("-", "_")
    preset = next(
        preset for preset, each in PRESETS.items() if name in vars(each.config().model)
    )
    _, config = parse([preset, flag, *values])
    recipe = config.model.recipe((28, 28, 1), Plan(1000, 10))
    return isinstance(recipe, jaxae.Recipe)


def run_blocks(page, namespace):
    """The code, block after block, as a reader who tries all of it would run it."""
    code = blocks(page, "python")
    assert code
    for number, block in enumerate(code):
        # Whole batches, as the last one that is not would be compiled for too.
        few = block.replace("epochs=50", "epochs=2").replace("150", "100")
        # Of one layer each, which is compiled in less time than two.
        few = few.replace("(16, 32)", "(4,)").replace("(32, 16)", "(4,)")
        exec(compile(few, f"{page}, block {number}", "exec"), namespace)
    return namespace


def test_the_code_of_the_first_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    after = run_blocks("README.md", {"__name__": "readme"})
    after = run_blocks("jaxae/README.md", after)  # goes on with what is there
    x, model = after["x"], after["model"]
    assert np.isfinite(after["whole"]).all()
    assert after["codes"].shape == after["gradient"].shape == (8, 4)
    assert after["again"].shape == after["clean"].shape == (8, 8, 8, 1)
    assert after["nll"].shape == (100,) and np.isfinite(after["nll"]).all()
    assert after["walk"].shape == (4, 8, 8, 8, 1)
    assert after["new"].shape == (8, 8, 8, 1)
    assert np.isfinite(jaxae.reconstruct(model, x[:2])).all()
    assert int(after["state"].step) == 2
    family = after["denoising_beta_vae"]
    assert family((8, 8, 1)).objective == jaxae.objectives.ELBO(4.0)


def test_the_code_of_the_programs_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).random((48, 4, 4, 1), np.float32)
    network = jaxae.networks.FullyConnected((8,))
    recipe = recipes.vae(images.shape[1:], 2, network=network)
    given = {
        "Path": Path,
        "images": images,
        "jax": jax,
        "jaxae": jaxae,
        "np": np,
        "optax": optax,
        "recipe": recipe,
        "fitted": SimpleNamespace(model=jaxae.init(recipe, jax.random.key(0))),
    }
    after = run_blocks("train/README.md", given)
    assert after["new"].shape == (64, 4, 4, 1)
    assert len(after["scores"]) == 6
    assert all(0 < score <= 1 for score in after["scores"].values())
    assert after["divided"].mesh.size == after["crossed"].mesh.size == 8
    assert len(after["fitted"].history) == 2
    assert jaxae.training.checkpoint.saved_epochs(tmp_path / "checkpoints") == [1, 2]
