"""What a running training tells about itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Progress:
    """One moment of a training.

    Attributes:
        stage: ``prepare``, ``keywords``, ``wide``, ``fine_tune``, ``export``, ``gate`` or ``suspects``.
        step: steps done in this stage.
        total_steps: steps that the stage has.
        loss: the last training loss, where there is one.
        seconds_left: of this stage, where it can be told.
    """

    stage: str
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    seconds_left: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The object that ``--progress`` prints under ``progress``."""
        return asdict(self)
