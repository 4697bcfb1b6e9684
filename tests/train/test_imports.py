"""Modules import one another in one direction, inside functions too."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for folder in ("jaxae", "train")
    for path in (ROOT / folder).rglob("*.py")
}
FILES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}


@cache
def trees() -> dict[str, ast.Module]:
    """Every file, read when a test asks for it."""
    return {name: ast.parse(p.read_text(encoding="utf-8")) for name, p in FILES.items()}


def imports(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """The module, its name in there and here."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level  # absolute
            for alias in node.names:
                yield node.module, alias.name, alias.asname or alias.name


@cache
def handed_on() -> dict[tuple[str, str], tuple[str, str]]:
    """What packages define elsewhere: {(package, name): (module, name there)}."""
    return {
        (name, here): (module, there)
        for name, path in FILES.items()
        if path.name == "__init__.py"
        for module, there, here in imports(trees()[name])
        if there
    }


def origin(module: str, name: str) -> str:
    """The file that defines it, wherever packages hand it on."""
    if f"{module}.{name}" in FILES:
        return f"{module}.{name}"
    further = handed_on().get((module, name))
    return origin(*further) if further else module


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """The files that each of them imports."""
    found = {
        name: {origin(module, there) for module, there, _ in imports(tree)} - {name}
        for name, tree in trees().items()
    }
    return {name: others & FILES.keys() for name, others in found.items()}


def test_no_files_import_one_another_in_a_circle(graph):
    assert "train.data.idx" in graph["train.data.mnist"]
    assert "train.data.images" in graph["train.data"]
    assert "jaxae.likelihoods.base" in graph["jaxae.models.autoencoder"]
    TopologicalSorter(graph).prepare()


def test_the_library_imports_no_program(graph):
    library = {name for name in graph if name.split(".")[0] == "jaxae"}
    assert [name for name in library if graph[name] - library] == []


def test_rooms_import_as_they_are_drawn(graph):
    """The rows of the drawing in the library's README: imports go to rows below."""
    text = (ROOT / "jaxae/README.md").read_text(encoding="utf-8")
    (drawing,) = re.findall(r"```\n(compression/.*?)```", text, re.DOTALL)
    rooms = {name.split(".")[1] for name in FILES if name.startswith("jaxae.")}
    rows = [re.findall(r"\b(\w+)(?:/|\.py)(?!\S)", row) for row in drawing.split("\n")]
    rank = {f"jaxae.{name}": i for i, row in enumerate(rows) for name in row}
    assert sorted(rank) == sorted(f"jaxae.{name}" for name in rooms - {"_version"})

    def room(name: str) -> str:
        return ".".join(name.split(".")[:2])

    upwards = [
        (name, found)
        for name in graph
        for found in graph[name]
        if room(name) in rank and room(found) in rank and room(name) != room(found)
        if rank[room(name)] >= rank[room(found)]
    ]
    assert upwards == []
