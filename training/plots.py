"""The pictures of a model card, as SVG that is the same for the same figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

from schema.taxonomy import INTENTS

FOLDER: Final = "plots"
_STYLE: Final = {"svg.hashsalt": "intentloop", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False}


def draw(folder: Path, metrics: Mapping[str, Any]) -> list[str]:
    """Draw what `metrics` (the content of metrics.json) holds into ``plots/`` of `folder`; returns the names of the files."""
    (folder / FOLDER).mkdir(exist_ok=True)
    drawn = []
    with mpl.rc_context(_STYLE):
        for name, picture in (("scores", _scores), ("reliability", _reliability), ("confusion", _confusion), ("loss", _loss)):
            figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
            if picture(axes, metrics):
                figure.savefig(folder / FOLDER / f"{name}.svg", metadata={"Date": None})
                drawn.append(f"{FOLDER}/{name}.svg")
            plt.close(figure)
    return drawn


def _scores(axes: Any, metrics: Mapping[str, Any]) -> bool:
    rows = range(len(INTENTS))
    for offset, which, label in ((-0.2, "serving", "the one before"), (0.2, "candidate", "this version")):
        if metrics.get(which):
            values = [metrics[which]["per_intent"][intent]["f1"] for intent in INTENTS]
            axes.barh([row + offset for row in rows], values, height=0.38, label=label)
    axes.set_yticks(list(rows), INTENTS)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("F1 on the held-out questions")
    axes.legend(loc="lower left")
    return True


def _reliability(axes: Any, metrics: Mapping[str, Any]) -> bool:
    bins = metrics["reliability"]
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    axes.plot([one["confidence"] for one in bins], [one["right"] for one in bins], marker="o")
    for one in bins:
        place = (one["confidence"], one["right"])
        axes.annotate(str(one["rows"]), place, textcoords="offset points", xytext=(4, -10), fontsize=7)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence of the answers")
    axes.set_ylabel("share of them that is right")
    return True


def _confusion(axes: Any, metrics: Mapping[str, Any]) -> bool:
    table = metrics["confusion"]
    axes.imshow(table, cmap="Blues", aspect="auto")
    for row, counts in enumerate(table):
        for column, number in enumerate(counts):
            if number:
                shade = "white" if number > max(map(max, table)) / 2 else "black"
                axes.text(column, row, str(number), ha="center", va="center", fontsize=7, color=shade)
    axes.set_xticks(range(len(INTENTS)), INTENTS, rotation=45, ha="right")
    axes.set_yticks(range(len(INTENTS)), INTENTS)
    axes.set_xlabel("answered first")
    axes.set_ylabel("labelled, with one intent")
    return True


def _loss(axes: Any, metrics: Mapping[str, Any]) -> bool:
    losses = metrics.get("loss") or []
    if not losses:
        return False
    axes.plot([step for step, _ in losses], [loss for _, loss in losses])
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    axes.set_ylim(bottom=0)
    return True
