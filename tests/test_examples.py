"""The examples in the docstrings run, and everything at the front door has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import jaxae
from jaxae import recipes

MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(jaxae.__path__, "jaxae.")
    if not found.ispkg
    and ">>> " in inspect.getsource(importlib.import_module(found.name))
)
FRONT = [
    *(value for value in vars(jaxae).values() if inspect.isfunction(value)),
    *recipes.FAMILIES,
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


@pytest.mark.parametrize("function", FRONT, ids=lambda each: each.__name__)
def test_the_front_door_has_examples(function):
    assert ">>> " in function.__doc__
