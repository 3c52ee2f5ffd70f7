"""A model artefact: one directory that never changes once it is published, and the checks that make it safe to serve.

The manifest names every file with its size and SHA-256, so the manifest's own SHA-256 names the whole unit: model, tokenizer,
label order, thresholds, keyword rules and dictionary. A half-written or altered artefact can be told from a good one, and
nothing but a good one is ever given out. Files live behind any URL that fsspec reads (``file://``, ``s3://`` ...).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import fsspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from inference.signature import MAX_SIGNATURE_BYTES, SIGNATURE, check, sign
from schema.errors import ArtefactError
from schema.taxonomy import Intent

MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 1 << 20
MAX_ARTEFACT_BYTES: Final = 4 << 30
_CHUNK: Final = 1 << 20

Role = Literal["serving", "training"]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$", max_length=200)]
VersionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Probability = Annotated[float, Field(ge=0, le=1)]

SERVING: Final[frozenset[Role]] = frozenset({"serving"})
NOT_SERVED: Final = frozenset({"weights", "plots", "reports"})
"""Folders of an artefact that a replica does not download."""
TRAINING: Final[frozenset[Role]] = frozenset({"serving", "training"})


class FileEntry(BaseModel):
    """One file of an artefact. Files of the role ``training`` are read by the trainer alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Sha256
    size: int = Field(ge=0)
    role: Role


class Manifest(BaseModel):
    """What an artefact is and holds.

    Attributes:
        labels: the intents in the order of the model's outputs.
        thresholds: for each label the calibrated probability from which it counts.
        temperature: logits are divided by it before the sigmoid.
        wide_share: of the logits, that of the wide half (`inference.grams`); the encoder's is the rest.
        max_length: tokens that the model reads of a question.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    format: Literal[1] = 1
    version: VersionName
    parent: VersionName | None
    base_model: str
    created_at: datetime
    labels: tuple[Intent, ...] = Field(min_length=2)
    thresholds: dict[Intent, Probability]
    temperature: float = Field(gt=0)
    wide_share: Probability = 0.0
    max_length: int = Field(ge=4, le=512)
    rules_revision: int = Field(ge=0)
    files: dict[FileName, FileEntry]

    @model_validator(mode="after")
    def _labels_and_thresholds_match(self) -> Manifest:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label stands twice")
        if set(self.thresholds) != set(self.labels):
            raise ValueError("thresholds and labels differ")
        return self


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the artefact in `folder`; its files are not checked.

    Raises:
        ArtefactError: there is none, or it is not a manifest.
    """
    return _parse(_manifest_bytes(folder), str(folder))


def manifest_sha256(folder: Path) -> str:
    """The SHA-256 that names the artefact in `folder`, in hex.

    Raises:
        ArtefactError: there is no manifest.
    """
    return hashlib.sha256(_manifest_bytes(folder)).hexdigest()


def verify(folder: Path, *, sha256: str | None, roles: Iterable[Role]) -> Manifest:
    """Check the artefact in `folder` against its manifest, and the manifest against `sha256` (None: any).

    Only files of the given `roles` are looked at.

    Raises:
        ArtefactError: something is missing, altered or of another size.
    """
    content = _manifest_bytes(folder)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ArtefactError(f"the manifest of {folder} is not the one announced ({sha256[:12]}...)")
    manifest = _parse(content, str(folder))
    for name, entry in _of_roles(manifest, roles).items():
        path = folder / name
        try:
            if path.stat().st_size != entry.size:
                raise ArtefactError(f"{path} has {path.stat().st_size} bytes, its manifest says {entry.size}")
            found = _sha256(path)
        except OSError as error:
            raise ArtefactError(f"{path} cannot be read: {error}") from error
        if found != entry.sha256:
            raise ArtefactError(f"{path} was altered: its SHA-256 is not the manifest's")
    return manifest


def seal(folder: Path, fields: Mapping[str, Any]) -> Manifest:
    """Hash every file in `folder` and write its manifest from them and `fields` (all of `Manifest` but ``files``).

    Files under `NOT_SERVED` get the role training, all others serving. Writing the manifest is the last step.
    """
    files = {
        path.relative_to(folder).as_posix(): FileEntry(
            sha256=_sha256(path),
            size=path.stat().st_size,
            role="training" if path.relative_to(folder).parts[0] in NOT_SERVED else "serving",
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path not in {folder / MANIFEST, folder / SIGNATURE}
    }
    manifest = Manifest.model_validate({**fields, "files": files})
    temporary = folder / f"{MANIFEST}.part"
    temporary.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / MANIFEST)
    return manifest


def publish(folder: Path, models_url: str, *, signing_key: str = "") -> str:
    """Copy the sealed artefact in `folder` to `models_url`/<version> and return that URL. A repeat changes nothing.

    With a `signing_key` its signature is put beside the manifest.

    On a local file system the whole folder appears at once; elsewhere the manifest is written last.

    Raises:
        ArtefactError: it is not whole, another artefact has that version, or the copy fails.
    """
    manifest = verify(folder, sha256=None, roles=TRAINING)
    content = _manifest_bytes(folder)
    url = f"{models_url.rstrip('/')}/{manifest.version}"
    try:
        filesystem, target = fsspec.core.url_to_fs(url)
        if filesystem.exists(f"{target}/{MANIFEST}"):
            if filesystem.cat_file(f"{target}/{MANIFEST}") != content:
                raise ArtefactError(f"{url} already holds another artefact: versions are never overwritten")
            return url
        signature = sign(content, signing_key) if signing_key else None
        if "file" in _protocols(filesystem):
            _copy_at_once(folder, manifest, Path(target), signature)
        else:
            if signature is not None:
                filesystem.pipe_file(f"{target}/{SIGNATURE}", signature)
            for name in manifest.files:
                filesystem.put_file(str(folder / name), f"{target}/{name}")
            filesystem.pipe_file(f"{target}/{MANIFEST}", content)
    except (OSError, ImportError, ValueError) as error:
        raise ArtefactError(f"{url} cannot be written: {error}") from error
    return url


def fetch(url: str, *, sha256: str | None, cache: Path, roles: Iterable[Role] = SERVING, verify_key: str = "") -> Path:
    """A verified local copy of the artefact at `url`, made in `cache` unless it is there already.

    Args:
        url: an artefact's folder, a URL for fsspec or a path.
        sha256: what its manifest must hash to; None takes the manifest that is there.
        cache: a folder for copies, one per manifest SHA-256; several processes may share it.
        roles: which files are wanted; no others are copied.
        verify_key: the public key whose owner must have signed it; empty: anyone's will do.

    Raises:
        ArtefactError: missing, corrupt, too large, not signed by the right one, or not to be read or written.
    """
    roles = frozenset(roles)
    try:
        if sha256 is not None and (known := _cached(cache, sha256, roles, verify_key)):
            return known
        filesystem, source = fsspec.core.url_to_fs(url)
        with filesystem.open(f"{source}/{MANIFEST}", "rb") as stream:
            content = stream.read(MAX_MANIFEST_BYTES + 1)
        digest = hashlib.sha256(content).hexdigest()
        if sha256 not in (None, digest):
            raise ArtefactError(f"the manifest at {url} is not the one announced ({str(sha256)[:12]}...)")
        if known := _cached(cache, digest, roles, verify_key):
            return known
        signature = _signature(filesystem, source) if verify_key else b""
        if verify_key:
            check(content, signature, verify_key, url)
        manifest = _parse(content, url)
        cache.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix="part-", dir=cache))
        try:
            for name, entry in _of_roles(manifest, roles).items():
                _download(filesystem, f"{source}/{name}", temporary / name, entry)
            (temporary / MANIFEST).write_bytes(content)
            if signature:
                (temporary / SIGNATURE).write_bytes(signature)
            return _place(temporary, _slot(cache, digest, roles), digest, roles)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except (OSError, ImportError, ValueError) as error:
        raise ArtefactError(f"{url} cannot be fetched: {error}") from error


def _download(filesystem: Any, source: str, target: Path, entry: FileEntry) -> None:
    """Copy one file and check it on the way. A file that is longer than announced is cut off, not swallowed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), entry.size
    with filesystem.open(source, "rb") as stream, target.open("wb") as copy:
        while block := stream.read(_CHUNK):
            left -= len(block)
            if left < 0:
                raise ArtefactError(f"{source} is larger than its manifest says ({entry.size} bytes)")
            digest.update(block)
            copy.write(block)
    if left or digest.hexdigest() != entry.sha256:
        raise ArtefactError(f"{source} is not the file that its manifest names")


def _slot(cache: Path, digest: str, roles: frozenset[Role]) -> Path:
    return cache / f"{digest}-{'-'.join(sorted(roles))}"


def _signature(filesystem: Any, source: str) -> bytes:
    try:
        with filesystem.open(f"{source}/{SIGNATURE}", "rb") as stream:
            return bytes(stream.read(MAX_SIGNATURE_BYTES))
    except FileNotFoundError:
        raise ArtefactError(f"{source} is not signed, and INTENTLOOP_VERIFY_KEY asks for it") from None


def _cached(cache: Path, digest: str, roles: frozenset[Role], verify_key: str) -> Path | None:
    """The copy in the cache if it is whole, and signed where that is asked for; another is taken away."""
    slot = _slot(cache, digest, roles)
    if not slot.exists():
        return None
    try:
        verify(slot, sha256=digest, roles=roles)
        if verify_key:
            check(_manifest_bytes(slot), (slot / SIGNATURE).read_bytes(), verify_key, str(slot))
    except (ArtefactError, FileNotFoundError):
        shutil.rmtree(slot, ignore_errors=True)
        return None
    return slot


def _place(temporary: Path, slot: Path, digest: str, roles: frozenset[Role]) -> Path:
    """Rename `temporary` to `slot`; if another process was first, its copy is as good."""
    try:
        temporary.rename(slot)
    except OSError:
        verify(slot, sha256=digest, roles=roles)
    return slot


def _copy_at_once(folder: Path, manifest: Manifest, target: Path, signature: bytes | None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".part-{manifest.version}-", dir=target.parent))
    try:
        for name in (*manifest.files, MANIFEST):
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, temporary / name)
        if signature is not None:
            (temporary / SIGNATURE).write_bytes(signature)
        temporary.chmod(0o755)  # mkdtemp makes it private; other processes are to read it
        if target.exists():  # without a manifest: what an interrupted copy left
            shutil.rmtree(target)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _of_roles(manifest: Manifest, roles: Iterable[Role]) -> dict[str, FileEntry]:
    wanted = frozenset(roles)
    return {name: entry for name, entry in manifest.files.items() if entry.role in wanted}


def _manifest_bytes(folder: Path) -> bytes:
    try:
        with (folder / MANIFEST).open("rb") as stream:
            return stream.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ArtefactError(f"{folder} is not an artefact: {error.strerror or error}") from error


def _parse(content: bytes, where: str) -> Manifest:
    if len(content) > MAX_MANIFEST_BYTES:
        raise ArtefactError(f"the manifest of {where} is too large")
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "manifest"
        raise ArtefactError(f"the manifest of {where} is not valid: {place}: {first['msg']}") from error
    total = sum(entry.size for entry in manifest.files.values())
    if total > MAX_ARTEFACT_BYTES:
        raise ArtefactError(f"the artefact at {where} is too large: {total} bytes")
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
