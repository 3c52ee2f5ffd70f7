"""One immutable unit that answers: local model, then keyword rules, then the LLM, each step with its reason.

Swapping a `Pipeline` for another is swapping one reference; requests that hold the old one finish with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from inference.artefact import read_manifest
from inference.golden import check_golden
from inference.llm import Llm
from inference.predictor import Predictor, Probabilities
from inference.rules import KeywordRules, Reading
from inference.time_intent import time_intent, today_in_shanghai
from schema.errors import TransientError
from schema.events import MAX_MATCHED, Classification
from schema.taxonomy import NON_FORTUNE, Intent, rule_types

AMBIGUOUS_MARGIN: Final = 0.1
"""The weakest intent that was chosen and the strongest that was not lie closer than this: the answer is ambiguous."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A loaded artefact, ready to answer.

    Attributes:
        confidence: below it the rules, then the LLM, are asked.
        llm: None where no endpoint is configured.
    """

    version: str
    predictor: Predictor
    rules: KeywordRules
    confidence: float
    llm: Llm | None = None
    replica_id: str = ""

    @classmethod
    def load(cls, folder: Path, *, threads: int, confidence: float, llm: Llm | None = None, replica_id: str = "") -> Pipeline:
        """Load and warm up the artefact in `folder`, whose files are taken as verified.

        Raises:
            ArtefactError: it cannot be loaded, or answers nonsense.
        """
        unit = cls(
            version=read_manifest(folder).version,
            predictor=Predictor.load(folder, threads=threads),
            rules=KeywordRules.load(folder),
            confidence=confidence,
            llm=llm,
            replica_id=replica_id,
        )
        unit.answer_local("明年财运怎么样")
        check_golden(folder, unit.predictor)
        return unit

    def answer_local(self, question: str, asked_at: datetime | None = None) -> Classification:
        """The answer of model and rules, without the LLM. `asked_at` (default: now) decides what years mean.

        Where rules speak for an intent that the model decides for, their boost is added to its probability. They never
        change what the model decides for; only where it stays unsure they may answer in its place.
        """
        return self.answer_together([(question, asked_at)])[0]

    def answer_together(self, asked: Sequence[tuple[str, datetime | None]]) -> list[Classification]:
        """What `answer_local` says to each of `asked`, questions with their moments, in less time than one after the other.

        Each answer's time is that of all.
        """
        began = time.perf_counter()
        rows = self.predictor.probabilities([question for question, _ in asked])
        answers = [self._weigh(row, *one) for row, one in zip(rows, asked, strict=True)]
        return [_timed(answer, began) for answer in answers]

    def _weigh(self, row: Probabilities, question: str, asked_at: datetime | None) -> Classification:
        """The answer that follows from the model's `row` of probabilities and the rules."""
        by_label = dict(zip(self.predictor.labels, map(float, row), strict=True))
        decided = self.predictor.decide(row)
        found = self.rules.read(question)
        boosts = found.boosts
        boosted = {intent: min(1.0, by_label[intent] + boosts.get(intent, 0.0)) for intent in decided}
        intents = sorted(decided, key=lambda intent: -boosted[intent])
        confidence = boosted[intents[0]]
        left = max(((p, label) for label, p in by_label.items() if label not in boosted), default=(0.0, ""))
        is_ambiguous = min(by_label[intent] for intent in decided) - left[0] < AMBIGUOUS_MARGIN
        reasons = [f"model {by_label[intents[0]]:.2f}"]
        if confidence > by_label[intents[0]]:
            reasons.append(f"with the rules {confidence:.2f}")
        if intents == [NON_FORTUNE]:
            reasons.append("not about fortune telling")
        if is_ambiguous:
            reasons.append(f"ambiguous: {left[1]} {left[0]:.2f}")
        answer = Classification(
            intents=intents,
            confidence=confidence,
            rule_types=rule_types(intents),
            time_intent=time_intent(question, today_in_shanghai(asked_at)),
            keywords=found.keywords,
            matched_rules=found.matched[:MAX_MATCHED],
            method="local_model",
            response_time_ms=0,
            is_fortune_related=intents != [NON_FORTUNE],
            is_ambiguous=is_ambiguous,
            reasoning=", ".join(reasons),
            model_version=self.version,
            rules_revision=self.rules.revision,
            replica_id=self.replica_id,
        )
        if confidence < self.confidence:
            return self._hand_on(found, answer)
        return answer

    def _hand_on(self, found: Reading, answer: Classification) -> Classification:
        """An unsure `answer`, or in its place that of the rules, where they are sure."""
        said = found.answer
        why = f"{answer.reasoning}, below {self.confidence:.2f}"
        if said is None or said[1] < self.confidence:
            spoke = "rules silent" if said is None else f"rules alone {said[1]:.2f}"
            return answer.model_copy(update={"reasoning": f"{why}, {spoke}"})
        return _decided(answer, said[0], said[1], "keyword_fallback", f"{why}, rules alone {said[1]:.2f}")

    async def answer(self, question: str, asked_at: datetime | None = None) -> Classification:
        """The answer, from the LLM where model and rules are unsure; without it, or when it fails, the best local one."""
        began = time.perf_counter()
        return await self.complete(question, self.answer_local(question, asked_at), began)

    async def complete(self, question: str, local: Classification, began: float, seconds: float | None = None) -> Classification:
        """Hand an unsure `local` answer to the LLM.

        Args:
            question: as it was asked.
            local: the answer of model and rules.
            began: ``time.perf_counter()`` at the start of the request.
            seconds: how long the request may take from there; the LLM gets what is left of it.
        """
        if self.llm is None or local.confidence >= self.confidence:
            return local
        left = None if seconds is None else began + seconds - time.perf_counter()
        try:
            if left is not None and left <= 0:
                raise TimeoutError  # before a call is paid that nobody waits for
            async with asyncio.timeout(left):
                said = await self.llm.classify(question)
        except TransientError as error:
            return _timed(local.model_copy(update={"reasoning": f"{local.reasoning}; {error}"}), began)
        except TimeoutError:
            return _timed(local.model_copy(update={"reasoning": f"{local.reasoning}; no time was left for the LLM"}), began)
        return _timed(_decided(local, said.intents, said.confidence, "llm_fallback", said.reasoning), began)


def _decided(answer: Classification, intents: list[Intent], confidence: float, method: str, reasoning: str) -> Classification:
    return answer.model_copy(
        update={
            "intents": intents,
            "confidence": confidence,
            "rule_types": rule_types(intents),
            "is_fortune_related": intents != [NON_FORTUNE],
            "method": method,
            "reasoning": reasoning,
        }
    )


def _timed(answer: Classification, began: float) -> Classification:
    return answer.model_copy(update={"response_time_ms": round((time.perf_counter() - began) * 1000, 3)})
