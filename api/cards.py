"""Model cards and reports, as they lie in the artefacts."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import fsspec

from schema.errors import ArtefactError

_PICTURE: Final = re.compile(r"!\[(\w+)\]\((plots/[\w-]+\.svg)\)")


def read_rules_report(url: str) -> list[dict[str, Any]]:
    """How each rule of the artefact at `url` did on the questions that it was made from (`training.rule_report`).

    Raises:
        ArtefactError: it cannot be read.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        report: list[dict[str, Any]] = json.loads(filesystem.cat_file(f"{path}/reports/rules.json"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"the rules' report at {url} cannot be read: {error}") from error
    return report


def read_card(url: str) -> tuple[str, dict[str, str]]:
    """The card of the artefact at `url` in Markdown, and the pictures that it shows, by name, as SVG.

    Raises:
        ArtefactError: it cannot be read.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        card = filesystem.cat_file(f"{path}/README.md").decode()
        return card, {name: filesystem.cat_file(f"{path}/{file}").decode() for name, file in _PICTURE.findall(card)}
    except (OSError, ValueError) as error:
        raise ArtefactError(f"the card at {url} cannot be read: {error}") from error
