"""Nothing but the artefact that was published is ever given out, and what is in the cache costs no second copy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from inference.artefact import (
    MANIFEST,
    SERVING,
    TRAINING,
    fetch,
    manifest_sha256,
    publish,
    read_manifest,
    seal,
    verify,
)
from schema.errors import ArtefactError
from schema.taxonomy import INTENTS

FIELDS = {
    "version": "v1",
    "parent": "v0",
    "base_model": "builtin",
    "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    "labels": INTENTS,
    "thresholds": dict.fromkeys(INTENTS, 0.5),
    "temperature": 1.0,
    "max_length": 64,
    "rules_revision": 3,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed artefact: its files need not be a model to be kept safe."""
    made = tmp_path / "made"
    (made / "weights").mkdir(parents=True)
    (made / "model.onnx").write_bytes(bytes(range(256)) * 4)
    (made / "rules.json").write_text("{}")
    (made / "weights" / "model.safetensors").write_bytes(b"heavy")
    seal(made, FIELDS)
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    """Rewrite the manifest by hand, past its own checks."""
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def rename_model(name: str) -> Callable[[dict], object]:
    return lambda manifest: manifest["files"].update({name: manifest["files"].pop("model.onnx")})


SPOIL: dict[str, Callable[[Path], object]] = {
    "a flipped byte": lambda folder: flip(folder / "model.onnx"),
    "a byte too many": lambda folder: (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"x"),
    "a byte too few": lambda folder: (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-1]),
    "a missing file": lambda folder: (folder / "model.onnx").unlink(),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "half a manifest": lambda folder: (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:200]),
    "a huge manifest": lambda folder: (folder / MANIFEST).write_bytes(b" " * ((1 << 20) + 1)),
    "a file of the manifest's own": lambda folder: edit(folder, lambda m: m["files"].update(extra=m["files"]["rules.json"])),
    "a huge file": lambda folder: edit(folder, lambda m: m["files"]["model.onnx"].update(size=5 << 30)),
    "an unknown field": lambda folder: edit(folder, lambda m: m.update(run="rm -rf /")),
    "another format": lambda folder: edit(folder, lambda m: m.update(format=2)),
    "an unknown label": lambda folder: edit(folder, lambda m: m["labels"].append("luck")),
    "a label without threshold": lambda folder: edit(folder, lambda m: m["thresholds"].pop("career")),
    "a label twice": lambda folder: edit(folder, lambda m: m["labels"].append("career")),
    "a threshold beyond one": lambda folder: edit(folder, lambda m: m["thresholds"].update(career=1.5)),
    "a temperature of nothing": lambda folder: edit(folder, lambda m: m.update(temperature=0)),
}


@pytest.mark.parametrize("what", SPOIL)
def test_an_altered_artefact_is_neither_verified_nor_fetched_nor_published(folder: Path, tmp_path: Path, what: str) -> None:
    verify(folder, sha256=None, roles=TRAINING)
    SPOIL[what](folder)
    with pytest.raises(ArtefactError):
        verify(folder, sha256=None, roles=TRAINING)
    with pytest.raises(ArtefactError):
        fetch(str(folder), sha256=None, cache=tmp_path / "cache")
    with pytest.raises(ArtefactError):
        publish(folder, (tmp_path / "models").as_uri())
    for place in ("cache", "models"):
        assert not list((tmp_path / place).glob("*")), "nothing half is left"


@pytest.mark.parametrize(
    "name",
    [
        "../model.onnx",
        "/etc/passwd",
        "weights/../../model.onnx",
        "a//b",
        ".hidden",
        "weights/.git",
        "",
        ".",
        "a\\b",
        "a\nb",
        "a/",
    ],
)
def test_a_file_name_that_leaves_the_folder_is_refused(folder: Path, cache: Path, name: str) -> None:
    (folder.parent / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    edit(folder, rename_model(name))
    with pytest.raises(ArtefactError, match="not valid"):
        verify(folder, sha256=None, roles=SERVING)
    with pytest.raises(ArtefactError, match="not valid"):
        fetch(str(folder), sha256=None, cache=cache)


@pytest.mark.parametrize("version", ["../v1", "v 1", "", ".v1", "a/b", "v" * 65])
def test_a_version_that_is_no_plain_name_is_refused(folder: Path, version: str) -> None:
    edit(folder, lambda manifest: manifest.update(version=version))
    with pytest.raises(ArtefactError, match="version"):
        read_manifest(folder)


def test_another_manifest_than_the_announced_one_is_refused(folder: Path, cache: Path) -> None:
    announced = manifest_sha256(folder)
    seal(folder, {**FIELDS, "temperature": 2.0})
    with pytest.raises(ArtefactError, match="not the one announced"):
        verify(folder, sha256=announced, roles=SERVING)
    with pytest.raises(ArtefactError, match="not the one announced"):
        fetch(str(folder), sha256=announced, cache=cache)
    assert fetch(str(folder), sha256=manifest_sha256(folder), cache=cache).is_dir()


def test_a_file_that_the_manifest_does_not_name_is_not_carried_along(folder: Path, cache: Path, tmp_path: Path) -> None:
    (folder / "stowaway.py").write_text("import os")
    (folder / "weights" / "stowaway.bin").write_bytes(b"x")
    url = publish(folder, (tmp_path / "models").as_uri())
    copy = fetch(url, sha256=None, cache=cache, roles=TRAINING)
    for place in (tmp_path / "models" / "v1", copy):
        assert not list(place.rglob("stowaway*"))


def test_sealing_names_every_file_with_size_hash_and_role(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert {name: entry.role for name, entry in manifest.files.items()} == {
        "model.onnx": "serving",
        "rules.json": "serving",
        "weights/model.safetensors": "training",
    }
    assert manifest.files["model.onnx"].size == 1024
    before = manifest_sha256(folder)
    seal(folder, FIELDS)
    assert manifest_sha256(folder) == before, "sealing again changes nothing"
    (folder / "rules.json").write_text("{ }")
    seal(folder, FIELDS)
    assert manifest_sha256(folder) != before, "the manifest's hash names the content"


def test_serving_needs_no_weights(folder: Path, cache: Path) -> None:
    digest = manifest_sha256(folder)
    copy = fetch(str(folder), sha256=digest, cache=cache)
    assert sorted(path.name for path in copy.rglob("*")) == [MANIFEST, "model.onnx", "rules.json"]
    whole = fetch(str(folder), sha256=digest, cache=cache, roles=TRAINING)
    assert (whole / "weights" / "model.safetensors").read_bytes() == b"heavy"
    assert manifest_sha256(whole) == manifest_sha256(copy) == digest
    shutil.rmtree(folder / "weights")
    verify(folder, sha256=digest, roles=SERVING)
    assert fetch(str(folder), sha256=None, cache=cache.with_name("other")).is_dir()
    with pytest.raises(ArtefactError, match="cannot be read"):
        verify(folder, sha256=digest, roles=TRAINING)


def test_a_repeat_comes_from_the_cache_without_the_source(folder: Path, cache: Path) -> None:
    digest = manifest_sha256(folder)
    copy = fetch(str(folder), sha256=digest, cache=cache)
    stamp = (copy / "model.onnx").stat().st_mtime_ns
    assert fetch(folder.as_uri(), sha256=None, cache=cache) == copy
    shutil.rmtree(folder)
    assert fetch(str(folder), sha256=digest, cache=cache) == copy
    assert (copy / "model.onnx").stat().st_mtime_ns == stamp
    assert [path.name for path in cache.iterdir()] == [copy.name], "and no scratch is left"


def test_a_spoilt_copy_in_the_cache_is_fetched_again(folder: Path, cache: Path) -> None:
    digest = manifest_sha256(folder)
    copy = fetch(str(folder), sha256=digest, cache=cache)
    flip(copy / "model.onnx")
    assert fetch(str(folder), sha256=digest, cache=cache) == copy
    verify(copy, sha256=digest, roles=SERVING)


def test_an_artefact_that_is_not_there_or_of_an_unknown_kind_is_an_artefact_error(tmp_path: Path, cache: Path) -> None:
    for url in (str(tmp_path / "none"), "gopher://host/v1", (tmp_path / "none").as_uri()):
        with pytest.raises(ArtefactError, match="cannot be fetched"):
            fetch(url, sha256=None, cache=cache)


def test_publishing_gives_what_fetch_reads_and_a_repeat_changes_nothing(folder: Path, cache: Path, tmp_path: Path) -> None:
    models = (tmp_path / "models").as_uri()
    url = publish(folder, models)
    target = tmp_path / "models" / "v1"
    stamps = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    assert publish(folder, models + "/") == url == f"{models}/v1"
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == stamps
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["v1"]
    assert target.stat().st_mode & 0o055 == 0o055, "other users may read it"
    verify(fetch(url, sha256=manifest_sha256(folder), cache=cache, roles=TRAINING), sha256=None, roles=TRAINING)


def test_a_published_version_is_never_overwritten(folder: Path, tmp_path: Path) -> None:
    models = (tmp_path / "models").as_uri()
    publish(folder, models)
    before = manifest_sha256(tmp_path / "models" / "v1")
    seal(folder, {**FIELDS, "temperature": 2.0})
    with pytest.raises(ArtefactError, match="versions are never overwritten"):
        publish(folder, models)
    assert manifest_sha256(tmp_path / "models" / "v1") == before


def test_what_an_interrupted_publish_left_is_replaced(folder: Path, tmp_path: Path) -> None:
    left = tmp_path / "models" / "v1"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"half")
    publish(folder, (tmp_path / "models").as_uri())
    verify(left, sha256=manifest_sha256(folder), roles=TRAINING)


def test_another_store_than_the_file_system_works_and_is_checked_too(folder: Path, cache: Path) -> None:
    store = fsspec.filesystem("memory")
    url = publish(folder, "memory://models")
    try:
        assert publish(folder, "memory://models") == url
        digest = manifest_sha256(folder)
        verify(fetch(url, sha256=digest, cache=cache, roles=TRAINING), sha256=digest, roles=TRAINING)
        store.pipe_file("/models/v1/model.onnx", b"x" * 1024)
        with pytest.raises(ArtefactError, match="not the file"):
            fetch(url, sha256=digest, cache=cache.with_name("second"))
        store.pipe_file("/models/v1/model.onnx", b"x" * 5000)
        with pytest.raises(ArtefactError, match="larger than its manifest says"):
            fetch(url, sha256=digest, cache=cache.with_name("second"))
        assert list(cache.with_name("second").iterdir()) == []
    finally:
        store.rm("/models", recursive=True)


def test_a_place_that_cannot_be_written_is_an_artefact_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ArtefactError):
        publish(folder, (tmp_path / "taken").as_uri())
    with pytest.raises(ArtefactError):
        fetch(str(folder), sha256=None, cache=tmp_path / "taken")
