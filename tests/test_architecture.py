"""Who may import whom, and how large a file may grow."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "schema": set(),
    "inference": {"schema"},
    "training": {"schema", "inference"},
    "streams": {"schema"},
    "consumers": {"schema", "inference"},
    "api": {"schema"},
}
ROOMS = {*MAY_IMPORT, "local", "intentloop"}
FILES = sorted(p for room in MAY_IMPORT for p in (ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The first part of every module that `path` imports, at any depth of its code."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_import_only_what_stands_left_of_them(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    assert imported(path) & ROOMS <= MAY_IMPORT[room] | {room}


@pytest.mark.parametrize("room", ["schema", "inference", "streams", "consumers", "api"])
def test_only_training_imports_torch(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        assert not imported(path) & {"torch", "transformers", "accelerate"}, path


def test_no_file_is_longer_than_400_lines() -> None:
    sources = [p for p in ROOT.rglob("*.py") if not {".venv", "var"} & set(p.parts)]
    assert not [p for p in sources if len(p.read_text().splitlines()) > 400]
