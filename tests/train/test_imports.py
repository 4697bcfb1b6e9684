"""Modules import one another in one direction, inside functions too."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]


def imported(path: Path) -> set[str]:
    """The modules that a file may mean: `from a.b import c` is of a.b or of a.b.c."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
            names.add(node.module)
    return names


def test_the_programs_have_no_import_circle():
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in (ROOT / "train").rglob("*.py")
    }
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    graph = {name: imported(path) & files.keys() for name, path in files.items()}
    assert "train.data.idx" in graph["train.data.mnist"]
    assert "train.data.images" in graph["train.data"]
    TopologicalSorter(graph).prepare()
