"""What is saved comes back bit by bit, from names and numbers alone."""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jaxtyping import TypeCheckError
from safetensors.numpy import load_file, save_file

import jaxae
from jaxae import (
    corruptions,
    likelihoods,
    networks,
    notation,
    objectives,
    preparation,
    recipes,
    schedules,
)
from jaxae.errors import ArgumentError, CheckpointError
from jaxae.evaluation import nll_nats
from jaxae.recipe import Model
from jaxae.samplers.flow import flow_density
from jaxae.saving.models import FORMAT
from jaxae.training.initial import abstract_variables, by_name
from jaxae.values import Value
from tests.test_protocol import NAMES, recipe_of
from tests.test_values import OwnDecoder
from tests.weights import some_weights
from train.options import Plan
from train.presets import PRESETS

MLP = networks.FullyConnected((5,), batch_norm=True)
X = np.random.default_rng(0).uniform(size=(6, 4)).astype(np.float32)


def filled(recipe):
    """A model with weights of every dtype that it has, no two alike."""
    forms = abstract_variables(recipe)
    return Model(recipe, some_weights(forms, 0.2, mean=0.5, seed=1))


@cache
def model():
    return filled(recipes.vae((4,), 2, network=MLP))


@pytest.fixture
def folder(tmp_path):
    """With a model in it."""
    jaxae.save(model(), tmp_path / "model")
    return tmp_path / "model"


def assert_identical(found, expected):
    assert found.recipe == expected.recipe
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    pairs = zip(*map(jax.tree.leaves, (found, expected)), strict=True)
    for a, b in pairs:
        assert isinstance(a, jax.Array) and a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_every_recipe_comes_back(name, tmp_path):
    half = jaxae.compute_in(recipe_of(name), "bfloat16")
    for expected in (filled(recipe_of(name)), filled(half)):
        jaxae.save(expected, tmp_path / name)
        assert_identical(jaxae.load(tmp_path / name), expected)
        assert_identical(pickle.loads(pickle.dumps(expected)), expected)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_recipe_of_every_preset_is_read_as_it_was_written(preset):
    recipe = PRESETS[preset].config().model.recipe((28, 28, 1), Plan(1000, 10))
    tree = json.loads(json.dumps(notation.write(recipe)))
    assert notation.read(tree) == recipe


def test_a_loaded_model_gives_the_very_numbers(folder):
    again, key = jaxae.load(str(folder)), jax.random.key(2)
    codes = jaxae.encode(model(), X)
    for use in (
        lambda model: jaxae.encode(model, X),
        lambda model: jaxae.decode(model, codes),
        lambda model: nll_nats(model, X, key, num_samples=3),
    ):
        np.testing.assert_array_equal(use(again), use(model()))


ENCODE = """
import sys
import numpy as np
import jaxae
x, model = np.load(sys.argv[1]), jaxae.load(sys.argv[2])
np.save(sys.argv[3], jaxae.encode(model, x))
"""


def test_another_process_finds_the_very_codes(folder, tmp_path):
    np.save(tmp_path / "x.npy", X)
    files = [tmp_path / "x.npy", folder, tmp_path / "codes.npy"]
    root = Path(jaxae.__file__).parents[1]
    subprocess.run([sys.executable, "-c", ENCODE, *files], cwd=root, check=True)
    np.testing.assert_array_equal(np.load(files[2]), jaxae.encode(model(), X))


def test_names_and_numbers_are_plain_to_see(folder):
    stored = load_file(folder / "model.safetensors")
    kernel = model().variables["params"]["encoder"]["Dense_0"]["kernel"]
    np.testing.assert_array_equal(stored["params/encoder/Dense_0/kernel"], kernel)
    assert stored.keys() == by_name(model().variables).keys()
    assert any(name.startswith("batch_stats/") for name in stored)
    about = json.loads((folder / "model.json").read_text())
    assert about["format"] == FORMAT and about["jaxae"] == jaxae.__version__
    parts = about["recipe"]["jaxae.Recipe"]
    assert parts["module"]["jaxae.AutoEncoder"]["shape"] == [4]
    # What is default now may be another one later.
    assert parts["objective"]["jaxae.objectives.ELBO"]["beta"] == 1.0
    assert parts["prepare"] == {"jaxae.preparation.binarize": None}


def test_dtypes_stay_as_they_are(tmp_path):
    variables = jax.tree.map(lambda x: x.astype(jnp.bfloat16), model().variables)
    kinds = (jnp.float16, jnp.float32)
    encoder = variables["params"]["encoder"]["Dense_0"]
    for name, dtype in zip(encoder, kinds, strict=False):
        encoder[name] = encoder[name].astype(dtype)
    other = model().replace(variables=variables)
    jaxae.save(other, tmp_path / "model")
    assert_identical(jaxae.load(tmp_path / "model"), other)
    encoder["kernel"] = encoder["kernel"].astype(jnp.float8_e4m3fn)
    with pytest.raises(ArgumentError, match="dtype of params/encoder/Dense_0/kernel"):
        jaxae.save(other, tmp_path / "model")


def test_double_precision_is_not_cut_silently(tmp_path):
    with jax.enable_x64(True):
        double = jax.tree.map(lambda x: x.astype(jnp.float64), model())
        jaxae.save(double, tmp_path / "model")
        assert_identical(jaxae.load(tmp_path / "model"), double)
    with pytest.raises(CheckpointError, match="is float64, which JAX has only under"):
        jaxae.load(tmp_path / "model")


def test_a_divided_model_is_saved_whole(tmp_path):
    mesh = jax.make_mesh((2,), ("data",))
    where = jax.NamedSharding(mesh, jax.P(None, "data"))
    variables = jax.tree.map(lambda x: x, model().variables)
    encoder = variables["params"]["bottleneck"]["Dense_0"]
    encoder["kernel"] = jax.device_put(encoder["kernel"], where)
    jaxae.save(model().replace(variables=variables), tmp_path / "model")
    assert_identical(jaxae.load(tmp_path / "model"), model())


# Parts of the user's own


class Encoder(nn.Module):
    """A network of the user's own, with a layer and an activation of others."""

    layer: nn.Module
    activation: object = jax.nn.relu

    @nn.compact
    def __call__(self, x, *, train=False):
        return self.activation(self.layer(x))


class Shrink(Value):
    """A corruption of the user's own."""

    factor: float = 0.5

    def __call__(self, key, x):
        return self.factor * x, None


def darken(key, x):
    return 0.5 * x, None


def of_my_own(corruption=darken, **fields):
    encoder = Encoder(nn.Dense(3), **fields)
    recipe = recipes.autoencoder((4,), 2, network=(encoder, OwnDecoder))
    return recipe.replace(corruption=corruption)


OWN = (Encoder, OwnDecoder, darken)


@pytest.mark.parametrize(
    ("recipe", "parts"),
    [
        (of_my_own(), OWN),
        (of_my_own(activation=jax.nn.gelu), OWN),
        (of_my_own(Shrink(0.25)), (Encoder, OwnDecoder, Shrink)),
        (of_my_own(corruptions.Compose((darken, corruptions.Masking(0.1)))), OWN),
        (recipes.vae((4,), 2, beta=schedules.Linear(0.0, 1.0, 7)), ()),
    ],
    ids=["function", "activation", "value", "inside", "schedule"],
)
def test_parts_of_ones_own_are_handed_in(recipe, parts, tmp_path):
    expected = filled(recipe)
    jaxae.save(expected, tmp_path / "model")
    assert_identical(jaxae.load(tmp_path / "model", parts=parts), expected)
    for part in parts:
        left = [each for each in parts if each is not part]
        name = f"{part.__module__}.{part.__qualname__}"
        with pytest.raises(CheckpointError, match=r"model.json: no recipe") as raised:
            jaxae.load(tmp_path / "model", parts=left)
        assert f"{name} is no part of jaxae: hand it in" in str(raised.value)


def test_all_that_must_be_handed_in_is_named(tmp_path):
    jaxae.save(filled(of_my_own()), tmp_path / "model")
    with pytest.raises(CheckpointError) as raised:
        jaxae.load(tmp_path / "model")
    names = ", ".join(f"{part.__module__}.{part.__qualname__}" for part in OWN)
    assert f"{names} are no parts of jaxae: hand them in" in str(raised.value)


def test_a_name_of_ones_own_is_never_one_of_the_librarys(monkeypatch):
    """A module `networks` of the user's, or a class `AutoEncoder` in a notebook."""
    monkeypatch.setattr(Shrink, "__module__", "__main__")
    monkeypatch.setattr("__main__.Shrink", Shrink, raising=False)
    assert notation.write(Shrink()) == {"__main__.Shrink": {"factor": 0.5}}
    assert all(name.startswith(("jaxae.", "jax.", "flax.")) for name in library())


def library():
    return notation._library()


def test_every_part_has_a_name_of_its_own():
    kinds = {each for each in library().values() if isinstance(each, type)}
    assert kinds >= {objectives.ELBO, networks.MLP, likelihoods.Gaussian, nn.Dense}
    below = set(notation._below(Value, nn.Module))
    assert {each for each in below if each.__module__.startswith("jaxae.")} <= kinds
    assert jax.nn.relu in library().values() and nn.tanh in library().values()


def closure(factor):
    return lambda *seen: factor


@pytest.mark.parametrize(
    ("recipe", "path"),
    [
        (recipes.vae((4,), 2, beta=closure(0.1)), r"recipe\.objective\.beta"),
        (
            recipes.vae((4,), 2, beta=optax.linear_schedule(0.0, 1.0, 5)),
            r"recipe\.objective\.beta",
        ),
        (of_my_own(lambda key, x: (x, None)), r"recipe\.corruption"),
        (
            of_my_own(corruptions.Compose((darken, partial(darken)))),
            r"recipe\.corruption\.corruptions\[1\]",
        ),
        (
            of_my_own(activation=jax.jit(lambda x: x)),
            r"recipe\.module\.encoder\.activation",
        ),
        (
            recipes.wae_mmd((4,)).replace(
                objective=objectives.Chain((objectives.Stateless(closure(1.0)),))
            ),
            r"recipe\.objective\.objectives\[0\]\.function",
        ),
    ],
    ids=["lambda", "optax", "corruption", "partial", "activation", "objective"],
)
def test_what_has_no_name_is_named_before_anything_is_written(recipe, path, tmp_path):
    with pytest.raises(ArgumentError, match=rf"^{path} has no name") as raised:
        jaxae.save(Model(recipe, {}), tmp_path / "model")
    assert "jaxae.schedules" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


# Where it is written to


def contents(folder):
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def test_a_model_is_replaced_and_folders_are_made(tmp_path):
    place = tmp_path / "of" / "mine"
    jaxae.save(filled(recipes.autoencoder((4,), 2)), place)
    jaxae.save(model(), place)
    assert_identical(jaxae.load(place), model())
    assert [each.name for each in place.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["letter.txt", "config.json"])
def test_what_is_no_model_is_not_replaced(name, folder):
    (folder / name).write_text("dear")
    before = contents(folder)
    with pytest.raises(ArgumentError, match=rf"^folder must be .*, which holds {name}"):
        jaxae.save(model(), folder)
    with pytest.raises(ArgumentError, match=r"^folder must be a new path"):
        jaxae.save(model(), folder / name)
    assert contents(folder) == before


@pytest.mark.parametrize(
    "step", ["jaxae.saving.models.save_file", "pathlib.Path.rename"]
)
def test_a_model_stays_where_the_next_cannot_be_written(step, folder, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    before = contents(folder)
    monkeypatch.setattr(step, fail)
    for place in (folder, folder.with_name("new")):
        with pytest.raises(OSError, match="no space left"):
            jaxae.save(filled(recipes.autoencoder((4,), 2)), place)
    assert [each.name for each in folder.parent.iterdir()] == ["model"]
    assert contents(folder) == before


def test_a_model_stays_where_it_cannot_be_swapped(folder, monkeypatch):
    rename, calls = type(folder).rename, []

    def fail_once(self, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError("busy")
        return rename(self, target)

    monkeypatch.setattr(type(folder), "rename", fail_once)
    with pytest.raises(OSError, match="busy"):
        jaxae.save(filled(recipes.autoencoder((4,), 2)), folder)
    assert_identical(jaxae.load(folder), model())


def test_only_a_model_is_saved(tmp_path):
    with pytest.raises((ArgumentError, TypeCheckError), match="model"):
        jaxae.save((model(),), tmp_path / "model")
    wider = recipes.vae((4,), 3, network=MLP)
    with pytest.raises(ArgumentError, match=r"variables of its recipe: params/.*shape"):
        jaxae.save(model().replace(recipe=wider), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# What is there is damaged, foreign or newer


def refused(folder, message, **options):
    """One sentence that names the file."""
    with pytest.raises(CheckpointError, match=message) as raised:
        jaxae.load(folder, **options)
    assert str(folder) in str(raised.value) and "\n" not in str(raised.value)


def edit(folder, change):
    file = folder / "model.json"
    about = json.loads(file.read_text())
    change(about)
    if "sha256 of the recipe" in about and "recipe" in about:
        about["sha256 of the recipe"] = checksum_of(about["recipe"])
    file.write_text(json.dumps(about))


def checksum_of(tree):
    canonical = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def parts_of(about):
    return about["recipe"]["jaxae.Recipe"]


def rename_part(about):
    parts_of(about)["objective"] = {"jaxae.objectives.ELBOW": {}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(format=FORMAT + 1), "written by jaxae .* a later jaxae"),
        *(
            (lambda a, n=n: a.update(format=n), "damaged, .*format must be a whole")
            for n in ("one", True, 0, -1, 1.0, float("nan"), None)
        ),
        (lambda a: a.pop("sha256 of the recipe"), "damaged, .* KeyError"),
        (lambda a: a.pop("recipe"), "damaged, or not of a saved model: KeyError"),
        (lambda a: a.pop("sha256 of the weights"), "damaged, or not of a saved model"),
        (rename_part, "ELBOW is no part of jaxae.* did you mean .*objectives.ELBO'"),
        (
            lambda a: parts_of(a).update(hook=[]),
            "no recipe can be made of it: .*unexpected keyword argument 'hook'",
        ),
        (
            lambda a: parts_of(a).update(corruption={"jaxae.corruptions.identity": {}}),
            "corruptions.identity must have no fields",
        ),
        (
            lambda a: parts_of(a).update(objective={"jaxae.objectives.ELBO": None}),
            "fields of jaxae.objectives.ELBO must be a mapping, got None",
        ),
        (
            lambda a: parts_of(a).update(objective={"a": {}, "b": {}}),
            "a part must be one name with its fields",
        ),
        (
            lambda a: parts_of(a).update(
                objective={"jaxae.objectives.ELBO": {"free_bits": -1.0}}
            ),
            "no recipe can be made of it: free_bits must be a schedule or at least 0",
        ),
        (
            lambda a: a.update(recipe={"jaxae.corruptions.Masking": {"rate": 0.5}}),
            r"holds no recipe but corruptions.Masking\(rate=0.5\)",
        ),
        # Checked by jaxtyping here, and when the model is traced elsewhere.
        (
            lambda a: parts_of(a).update(module=3),
            "no recipe can be made of it|no model can be made of it",
        ),
        (lambda a: parts_of(a).update(prepare={"os.system": None}), "no part of jaxae"),
        (
            lambda a: parts_of(a).update(prepare={"builtins.eval": ["1"]}),
            "no part of jaxae",
        ),
    ],
)
def test_a_recipe_that_cannot_be_read(change, message, folder):
    edit(folder, change)
    refused(folder, f"model.json: .*({message})")


def standardized():
    scale = preparation.Standardize(
        mean=(0.25, 1.5, 3.0, 7.0), std=(1.0, 2.0, 4.0, 9.5)
    )
    recipe = recipes.vae((4,), 2, network=MLP, likelihood="gaussian", beta=4.0)
    return filled(recipe.replace(prepare=scale))


def test_no_flipped_bit_makes_another_recipe(tmp_path):
    expected, folder = standardized(), tmp_path / "model"
    jaxae.save(expected, folder)
    file, rng = folder / "model.json", np.random.default_rng(0)
    content, outcomes = file.read_bytes(), []
    start = content.index(b'"recipe"')
    numbers = [content.index(n, start) for n in (b"0.25", b"7.0", b"9.5", b"4.0")]
    places = [*numbers, *rng.integers(len(content), size=60)]
    for place, bit in zip(places, rng.integers(8, size=64), strict=True):
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        file.write_bytes(flipped)
        try:
            outcomes.append(jaxae.load(folder).recipe == expected.recipe)
        except CheckpointError:
            outcomes.append(None)
    assert False not in outcomes and outcomes[:4] == [None] * 4


def test_a_changed_number_of_the_recipe_is_said(folder):
    file = folder / "model.json"
    text = file.read_text()
    assert '"free_bits": 0.0' in text
    file.write_text(text.replace('"free_bits": 0.0', '"free_bits": 1.0'))
    refused(folder, "model.json: damaged, .* not that of the sha256 of the recipe")


def test_the_first_format_has_no_checksum_of_the_recipe(folder):
    def first(about):
        about.pop("sha256 of the recipe")
        about["format"] = 1

    edit(folder, first)
    assert_identical(jaxae.load(folder), model())


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_directory_is_no_file(name, folder):
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, f"{name}: is a directory, not a file")


def test_functions_are_not_called_with_what_a_file_says(folder):
    called = {f"{__name__}.darken": {"key": 1, "x": 2}}
    edit(folder, lambda about: parts_of(about).update(corruption=called))
    refused(folder, "darken must have no fields", parts=[darken])
    with pytest.raises(ArgumentError, match="parts must be classes and functions"):
        jaxae.load(folder, parts=[darken, Shrink()])


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '"model"', "\xff", "[" * 100_000],
    ids=["empty", "cut", "list", "null", "string", "no text", "deep"],
)
def test_a_file_that_is_no_recipe(content, folder):
    (folder / "model.json").write_bytes(content.encode("latin-1"))
    refused(folder, "model.json: damaged, or not of a saved model")


@pytest.mark.parametrize("size", [0, 5, 40, -3])
def test_weights_that_are_cut_short(size, folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    refused(folder, "model.safetensors: damaged")


@pytest.mark.parametrize("place", [2, 30, -30, -1])
def test_weights_of_which_a_byte_is_another(place, folder):
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[place] ^= 0x20
    file.write_bytes(content)
    refused(folder, "model.safetensors: (damaged|not the weights of its recipe)")


def test_weights_of_another_model_of_the_recipe(folder, tmp_path):
    other = model().replace(variables=jax.tree.map(lambda x: 2 * x, model().variables))
    jaxae.save(other, tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", folder)
    refused(folder, "model.safetensors: damaged, or not what model.json was saved with")


def test_weights_that_are_not_there(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "model.safetensors: is missing")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "params/decoder/Dense_9/kernel",
            np.ones(3),
            r"real numbers of shape \(3,\) there and missing",
        ),
        (
            "params/decoder/Dense_0/bias",
            np.ones(5),
            r"real numbers of shape \(5,\) there and real numbers of shape \(4,\) in",
        ),
        (
            "params/decoder/Dense_0/bias",
            np.ones(4, np.int32),
            r"int32 values of shape \(4,\) there and real numbers of",
        ),
        ("params/decoder/Dense_0/bias", None, "missing there and real numbers of"),
    ],
    ids=["extra", "shape", "kind", "missing"],
)
def test_weights_of_another_recipe(name, values, message, folder):
    arrays = load_file(folder / "model.safetensors")
    arrays[name] = values
    if values is None:
        del arrays[name]
    save_file(arrays, folder / "model.safetensors")
    refused(folder, f"model.safetensors: not the weights of .*: {name} is {message}")


def test_where_there_is_no_model(tmp_path):
    refused(tmp_path / "none", "no saved model there, neither model.json nor")
    refused(tmp_path, "python -m train.evaluate")


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_file_is_not_its_folder(name, folder):
    refused(folder / name, f"{name}: is a file of a saved model: give its folder, ")


def test_which_is_for_runs(folder, tmp_path):
    with pytest.raises(ArgumentError, match=r"which must be left out, as .* holds one"):
        jaxae.load(folder, which="last")
    with pytest.raises((ArgumentError, TypeCheckError), match="which"):
        jaxae.load(folder, which="first")
    other = model().replace(recipe=model().recipe.replace(title="other"))
    jaxae.save(model(), tmp_path / "run" / "models" / "best")
    refused(tmp_path / "run", "nor models/last/model.json", which="last")
    jaxae.save(other, tmp_path / "run" / "models" / "last")
    assert_identical(jaxae.load(tmp_path / "run"), model())
    assert_identical(jaxae.load(tmp_path / "run", which="last"), other)


def test_a_sampler_is_a_model_too(tmp_path):
    expected = filled(flow_density((4,), layers=1, hidden=(3,)))
    jaxae.save(expected, tmp_path / "flow")
    assert_identical(jaxae.load(tmp_path / "flow"), expected)
