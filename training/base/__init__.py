"""The built-in base: a seed corpus, a small BERT made from it, and version v0, which needs no download."""

from __future__ import annotations

from pathlib import Path
from typing import Final

V0: Final = Path(__file__).parent / "v0"
"""The artefact of the first version."""
