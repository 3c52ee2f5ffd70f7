"""The demo's report: what was measured, what must hold, and a table for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Report:
    """What happened in one demo. Every figure was measured in that run.

    Attributes:
        questions: sent (broken records among them), stored, duplicates, dead_lettered; ``exact`` is whether the stored
            event ids are the sent ones, each once.
        keyword_counts: pairs, and whether each total equals a recount from the questions.
        labels: posted and applied.
        batches: each training, see `local.measures.trained`.
        activation: version, generation, seconds from the event to each replica serving it; None if nothing passed.
        requests: during the reload, and in the whole demo: total, failed, p50_ms, p99_ms.
        wall_seconds: of the whole demo.
    """

    questions: dict[str, Any]
    keyword_counts: dict[str, Any]
    labels: dict[str, int]
    batches: list[dict[str, Any]]
    activation: dict[str, Any] | None
    requests: dict[str, dict[str, float]]
    wall_seconds: float

    def checks(self) -> dict[str, bool]:
        """What must hold, in words."""
        q = self.questions
        return {
            "sent = stored + duplicates + dead-lettered": q["sent"] == q["stored"] + q["duplicates"] + q["dead_lettered"],
            "every question sent is stored once": bool(q["exact"]),
            "every broken record is dead-lettered": q["dead_lettered"] == q["broken"],
            "keyword counts equal a recount": bool(self.keyword_counts["equal_recount"]),
            "every label posted is applied": self.labels["posted"] == self.labels["applied"] > 0,
            "the threshold started a training": any(b["trigger"] == "threshold" for b in self.batches),
            "a candidate passed its gate and was activated": self.activation is not None,
            "every replica serves it": self.activation is not None
            and len(self.activation["replica_seconds"]) == self.activation["replicas"],
            "requests went on during the reload": self.requests["during_reload"]["total"] > 0,
            "no request failed": self.requests["whole_demo"]["failed"] == 0,
        }

    def write(self, path: Path) -> None:
        """Write it as JSON, with its checks."""
        path.write_text(json.dumps(asdict(self) | {"checks": self.checks()}, ensure_ascii=False, indent=1) + "\n")

    def table(self) -> Table:
        """It as a table."""
        table = Table(title="What happened", show_header=False, title_justify="left")
        table.add_column(style="bold")
        table.add_column()
        q, reload, whole = self.questions, self.requests["during_reload"], self.requests["whole_demo"]
        table.add_row(
            "questions",
            f"{q['sent']} sent = {q['stored']} stored + {q['duplicates']} duplicates + {q['dead_lettered']} dead-lettered",
        )
        equal = "equal to a recount" if self.keyword_counts["equal_recount"] else "DIFFERENT from a recount"
        table.add_row("keyword counts", f"{self.keyword_counts['pairs']} keyword-intent pairs, {equal}")
        table.add_row("labels", f"{self.labels['posted']} posted, {self.labels['applied']} applied")
        for batch in self.batches:
            table.add_row(f"training {batch['version'] or ''}", _training(batch))
        if self.activation:
            seconds = ", ".join(f"{name} {value:.2f} s" for name, value in sorted(self.activation["replica_seconds"].items()))
            table.add_row("activation", f"{self.activation['version']}, serving after the event: {seconds}")
        table.add_row("requests in the reload", _requests(reload))
        table.add_row("requests in all", _requests(whole))
        table.add_row("wall time", f"{self.wall_seconds:.0f} s")
        for what, holds in self.checks().items():
            table.add_row("[green]holds[/]" if holds else "[red]FAILS[/]", what)
        return table


def _training(batch: dict[str, Any]) -> str:
    if batch["candidate"] is None:
        return f"{batch['outcome']}: {batch['error']}"
    before = f"{batch['serving']['macro_f1']:.4f} -> " if batch["serving"] else ""
    return (
        f"{batch['outcome']}: {batch['rows']} labelled rows, {batch['seconds']:.0f} s,"
        f" held-out macro-F1 {before}{batch['candidate']['macro_f1']:.4f} on {batch['held_out_rows']} rows,"
        f" {batch['rules_extracted']} rules\ngate: {'; '.join(batch['gate']['reasons'])}"
    )


def _requests(figures: dict[str, float]) -> str:
    return (
        f"{figures['total']:.0f}, {figures['failed']:.0f} failed, p50 {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms"
    )
