"""Modules import one another in one direction, inside functions too."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for folder in ("jaxae", "train")
    for path in (ROOT / folder).rglob("*.py")
}
FILES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}
TREES = {name: ast.parse(p.read_text(encoding="utf-8")) for name, p in FILES.items()}


def imports(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """The module, its name in there and here."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level  # absolute
            for alias in node.names:
                yield node.module, alias.name, alias.asname or alias.name


HANDED_ON = {
    (name, here): (module, there)
    for name, path in FILES.items()
    if path.name == "__init__.py"
    for module, there, here in imports(TREES[name])
    if there
}


def origin(module: str, name: str) -> str:
    """The file that defines it, wherever packages hand it on."""
    if f"{module}.{name}" in FILES:
        return f"{module}.{name}"
    further = HANDED_ON.get((module, name))
    return origin(*further) if further else module


GRAPH = {
    name: {origin(module, there) for module, there, _ in imports(tree)} - {name}
    for name, tree in TREES.items()
}
GRAPH = {name: found & FILES.keys() for name, found in GRAPH.items()}


def test_no_files_import_one_another_in_a_circle():
    assert "train.data.idx" in GRAPH["train.data.mnist"]
    assert "train.data.images" in GRAPH["train.data"]
    assert "jaxae.likelihoods.base" in GRAPH["jaxae.models.autoencoder"]
    TopologicalSorter(GRAPH).prepare()


def test_the_library_imports_no_program():
    library = {name for name in GRAPH if name.split(".")[0] == "jaxae"}
    assert [name for name in library if GRAPH[name] - library] == []


def test_rooms_import_as_they_are_drawn():
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
        for name in GRAPH
        for found in GRAPH[name]
        if room(name) in rank and room(found) in rank and room(name) != room(found)
        if rank[room(name)] >= rank[room(found)]
    ]
    assert upwards == []
