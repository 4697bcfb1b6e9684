"""The examples in the docstrings run, and everything at the front door has one."""

import doctest
import importlib
import inspect
import pkgutil
import pydoc
import re
from pathlib import Path

import pytest
from flax import linen as nn

import jaxae

ALL = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(jaxae.__path__, "jaxae.")
    if not found.ispkg
]
PACKAGES = [jaxae] + [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(jaxae.__path__, "jaxae.")
    if found.ispkg
]
MODULES = sorted(each.__name__ for each in ALL if ">>> " in inspect.getsource(each))
FRONT = [
    value
    for room in (jaxae, jaxae.evaluation, jaxae.recipes, jaxae.training)
    for value in vars(room).values()
    if inspect.isfunction(value) or inspect.isclass(value)
]
FRONT = [
    each
    for each in dict.fromkeys(FRONT)  # some are in several
    if each.__module__.startswith("jaxae.")
    and not (inspect.isclass(each) and issubclass(each, Exception))
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    tests = doctest.DocTestFinder(exclude_empty=True).find(module, name)
    assert any(test.examples for test in tests)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        runner.run(test)
    assert runner.failures == 0


@pytest.mark.parametrize("module", ALL, ids=lambda each: each.__name__)
def test_help_shows_the_names_of_types_and_no_address(module):
    others = (nn.Module, Exception)
    for name, each in vars(module).items():
        own = getattr(each, "__module__", None) == module.__name__
        kind = inspect.isclass(each)
        # Linen gives its modules two fields, exceptions have no signature.
        shown = inspect.isfunction(each) or (kind and not issubclass(each, others))
        if not own or not shown or name.startswith("_"):
            continue
        for parameter in inspect.signature(each).parameters.values():
            assert len(str(parameter)) <= 120, f"{name}: {parameter}"
            # What a value has as its default may be a function.
            assert kind or " at 0x" not in str(parameter), f"{name}: {parameter}"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda each: each.__name__)
def test_help_shows_what_a_package_exports(package):
    text = pydoc.render_doc(package, renderer=pydoc.plaintext)
    for name in getattr(package, "__all__", ()):
        each = getattr(package, name)
        if inspect.isclass(each) or inspect.isfunction(each):
            heading = rf"^    (class )?({name}|{each.__name__})\b"
            assert re.search(heading, text, re.MULTILINE), name


def test_docstrings_say_what_a_thing_is():
    """And not of what it is."""
    root = Path(__file__).parents[1]
    files = [
        path for folder in ("jaxae", "train") for path in root.glob(f"{folder}/**/*.py")
    ]
    assert len(files) > 200
    assert [f for f in files if '"""Of ' in f.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("each", FRONT, ids=lambda each: each.__name__)
def test_the_front_door_has_examples(each):
    assert ">>> " in each.__doc__
