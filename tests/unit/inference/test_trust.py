"""What a replica asks of an artefact beyond its hashes: whose it is, and that it answers here as it did where it was made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from inference.artefact import SERVING, fetch, publish, read_manifest, seal
from inference.golden import GOLDEN_FILE
from inference.pipeline import Pipeline
from inference.signature import SIGNATURE, new_pair, sign
from intentloop import BUILTIN
from schema.errors import ArtefactError, ConfigError


def test_a_signed_artefact_is_taken_and_stays_checked_in_the_cache(tmp_path: Path) -> None:
    private, public = new_pair()
    url = publish(BUILTIN, str(tmp_path / "models"), signing_key=private)
    folder = fetch(url, sha256=None, cache=tmp_path / "cache", verify_key=public)
    assert (folder / SIGNATURE).exists()
    shutil.rmtree(tmp_path / "models")
    digest = folder.name.partition("-")[0]
    assert fetch(url, sha256=digest, cache=tmp_path / "cache", verify_key=public) == folder, "the store may be away"
    with pytest.raises(ArtefactError):
        fetch(url, sha256=digest, cache=tmp_path / "cache", verify_key=new_pair()[1])


@pytest.mark.parametrize("how", ["unsigned", "other key", "other content", "no signature"])
def test_an_artefact_that_is_not_signed_by_the_owner_is_refused(tmp_path: Path, how: str) -> None:
    private, public = new_pair()
    key = {"unsigned": "", "other key": new_pair()[0]}.get(how, private)
    url = publish(BUILTIN, str(tmp_path / "models"), signing_key=key)
    if how == "other content":
        (Path(url) / SIGNATURE).write_bytes(sign(b"another manifest", private))
    if how == "no signature":
        (Path(url) / SIGNATURE).write_bytes(b"?")
    with pytest.raises(ArtefactError, match="INTENTLOOP_VERIFY_KEY"):
        fetch(url, sha256=None, cache=tmp_path / "cache", roles=SERVING, verify_key=public)


def test_a_key_that_is_none_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="signing-keys"):
        publish(BUILTIN, str(tmp_path / "models"), signing_key="secret")


def altered(tmp_path: Path, golden: object) -> Path:
    """v0 with another ``golden.json``, sealed: its hashes are right."""
    folder = tmp_path / "altered"
    shutil.copytree(BUILTIN, folder)
    (folder / GOLDEN_FILE).write_text(json.dumps(golden), encoding="utf-8")
    seal(folder, read_manifest(folder).model_dump(exclude={"files"}))
    return folder


def test_an_artefact_that_answers_golden_questions_otherwise_is_refused_by_name(tmp_path: Path) -> None:
    golden = json.loads((BUILTIN / GOLDEN_FILE).read_text(encoding="utf-8"))
    assert len(golden["golden"]) >= 20
    Pipeline.load(BUILTIN, threads=1, confidence=0.6)
    golden["golden"][3]["probabilities"] = golden["golden"][3]["probabilities"][::-1]
    with pytest.raises(ArtefactError, match=f"golden question '{golden['golden'][3]['question']}'"):
        Pipeline.load(altered(tmp_path, golden), threads=1, confidence=0.6)


@pytest.mark.parametrize("golden", [{}, {"golden": [{"question": "财运", "probabilities": [0.5]}]}])
def test_golden_questions_of_another_model_are_refused(tmp_path: Path, golden: object) -> None:
    with pytest.raises(ArtefactError):
        Pipeline.load(altered(tmp_path, golden), threads=1, confidence=0.6)
