"""A person's own editor, on a text that is nobody else's to read."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from schema.errors import ConfigError


def edit(text: bytes, environ: Mapping[str, str], *, suffix: str = ".json") -> bytes:
    """What `text` is after ``$VISUAL`` or ``$EDITOR`` was closed; the line end that editors add to the last line is left out.

    Raises:
        ConfigError: no editor is set, it cannot be started, or it ended with an error.
    """
    command = shlex.split(environ.get("VISUAL") or environ.get("EDITOR") or "")
    if not command:
        raise ConfigError("no editor is set: set EDITOR, or use --fix")
    with tempfile.TemporaryDirectory(prefix="intentloop-") as folder:  # readable by its owner only
        file = Path(folder) / f"value{suffix}"
        file.write_bytes(text)
        try:
            status = subprocess.run([*command, str(file)], check=False).returncode
        except OSError as error:
            raise ConfigError(f"the editor {command[0]} cannot be started ({error.strerror}): set EDITOR to another") from None
        if status != 0:
            raise ConfigError(f"the editor {command[0]} ended with status {status}: nothing was taken from it")
        saved = file.read_bytes()
    return saved if text.endswith(b"\n") else saved.removesuffix(b"\n").removesuffix(b"\r")
