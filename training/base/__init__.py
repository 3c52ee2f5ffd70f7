"""The built-in base: a seed corpus, a small BERT made from it, and version v0, which needs no download."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ENCODER: Final = Path(__file__).parent / "encoder"
"""The pre-trained BERT, a Hugging Face directory: where v0 and every full retraining start."""
BUILTIN: Final = "builtin"
"""What the base is called in settings and manifests."""
V0: Final = Path(__file__).parent / "v0"
"""The artefact of the first version."""
THREADS: Final = 2
"""Threads with which both were made: sums depend on it."""
