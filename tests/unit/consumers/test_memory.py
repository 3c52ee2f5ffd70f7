"""A model that does not fit beside the one that serves is refused before it is loaded."""

from __future__ import annotations

import pytest

from consumers import memory
from inference.artefact import read_manifest
from intentloop import BUILTIN
from schema.errors import ArtefactError


def test_the_machine_says_how_much_is_left() -> None:
    left = memory.memory_left()
    assert left is not None
    assert 1 << 20 < left < 1 << 50


def test_a_model_larger_than_what_is_left_is_refused_with_both_numbers() -> None:
    manifest = read_manifest(BUILTIN)
    memory.require_memory(manifest)
    left = memory.memory_left()
    assert left is not None
    entry = manifest.files["model.onnx"].model_copy(update={"size": left})
    too_large = manifest.model_copy(update={"files": manifest.files | {"model.onnx": entry}})
    with pytest.raises(ArtefactError, match=r"v0 needs \d+ MB of memory beside what is loaded, and \d+ MB are left"):
        memory.require_memory(too_large)
