"""Everything intentloop raises on purpose.

* IntentLoopError
  x ConfigError        started wrongly: one line that says what to do, exit 2
  x EventError         this record is bad and always will be: dead-letter it, go on
  x TransientError     the same call may succeed later: retry, commit nothing
  x ArtefactError      keep serving what is loaded, report load_failed
  x RequestError       the caller's mistake: 4xx with the field at fault
    . NotFound         404
    . Conflict         409
  x TrainingError      this batch cannot be trained: mark it failed, release its members
"""

from __future__ import annotations


class IntentLoopError(Exception):
    """Root of the tree; never raised itself."""


class ConfigError(IntentLoopError):
    """The process was started wrongly. The message is one line and says what to do."""


class EventError(IntentLoopError):
    """A record that can never be processed.

    Attributes:
        reason: short machine-readable word (``not_json``, ``unknown_type``, ``invalid`` ...), used as a metric label.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TransientError(IntentLoopError):
    """The same call may succeed later: retry it, and commit nothing until it did."""


class ArtefactError(IntentLoopError):
    """A model artefact that must not be served. The serving one stays."""


class TrainingError(IntentLoopError):
    """A batch that cannot be trained as it is; the message is stored with the batch."""


class RequestError(IntentLoopError):
    """The caller's mistake.

    Attributes:
        code: short machine-readable word.
        field: the input field at fault, if one is.
        status: HTTP status.
    """

    status = 422

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class NotFound(RequestError):
    """The named thing does not exist."""

    status = 404


class Conflict(RequestError):
    """The request does not fit the present state."""

    status = 409
