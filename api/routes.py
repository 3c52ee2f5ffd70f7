"""The route table. The router and ``/openapi.json`` are both made from it, so that neither knows what the other does not."""

from __future__ import annotations

from typing import Any, Final

from api import batches, counts, decisions, labels, models, progress, questions, review, rollouts, search, work
from api.inputs import (
    Activation,
    CountListing,
    Extraction,
    IntentChoice,
    KeywordListing,
    Listing,
    Moment,
    NewBatch,
    RunBatch,
    Waiting,
    Why,
)
from api.stats import stats
from api.tasks import Decision, Flag, Label, Labels, Person, Questions, Review, ReviewListing, Search, Work
from api.wire import Nothing, Route

ROUTES: Final[tuple[Route[Any, Any], ...]] = (
    Route("GET", "/questions", search.search, "Stored questions that fit", Nothing, Search),
    Route("GET", "/questions/unlabeled", questions.unlabeled, "Questions that wait for a label", Nothing, Waiting),
    Route("GET", "/questions/{id}", questions.question, "One question", Nothing, Nothing, also=(404,)),
    Route("POST", "/questions/{id}/label", labels.label, "Label a question", Label, Nothing, 202, (404, 409), takes_key=True),
    Route("POST", "/questions/labels", labels.labels, "Label many questions", Labels, Nothing),
    Route(
        "POST", "/questions/{id}/undo", decisions.undo, "Take a decision back", Decision, Nothing, 202, (404, 409), takes_key=True
    ),
    Route("POST", "/questions/{id}/skip", decisions.skip, "Skip for good", Decision, Nothing, also=(404, 409)),
    Route("POST", "/questions/{id}/postpone", decisions.postpone, "Put off for an hour", Decision, Nothing, also=(404, 409)),
    Route("POST", "/questions/{id}/flag", decisions.flag, "Hand over to a reviewer", Flag, Nothing, also=(404, 409)),
    Route("GET", "/progress", progress.progress, "How far it is to the next training, and who did how much", Nothing, Person),
    Route("POST", "/work/next", work.next_work, "Questions for one labeler", Work, Nothing, takes_labeler=True),
    Route("POST", "/work/release", work.release_work, "Give questions back", Questions, Nothing, takes_labeler=True),
    Route("GET", "/guidelines", search.guidelines, "What each intent means, with examples", Nothing, Nothing),
    Route("GET", "/events", progress.events, "What happens, as it happens", Nothing, Nothing, events=True),
    Route("GET", "/review", review.review, "What waits for a reviewer", Nothing, ReviewListing),
    Route("POST", "/review/{id}", review.decide_review, "End a review", Review, Nothing, 202, (404, 409), takes_key=True),
    Route("GET", "/agreement", review.agreement, "How far two people agree who answered blind", Nothing, Nothing),
    Route("POST", "/batches", batches.new_batch, "Make a training batch of all open questions", NewBatch, Nothing, 201, (409,)),
    Route("GET", "/batches", batches.list_batches, "The newest batches", Nothing, Listing),
    Route("GET", "/batches/{batch_id}", batches.batch, "One batch", Nothing, Nothing, also=(404,)),
    Route("POST", "/batches/{batch_id}/run", batches.run_batch, "Train a batch", RunBatch, Nothing, 202, (404, 409)),
    Route("POST", "/batches/{batch_id}/cancel", batches.cancel_batch, "End a batch", Why, Nothing, also=(404, 409)),
    Route("POST", "/keywords/extract", batches.extract_keywords, "Extract keyword rules", Nothing, Extraction, 202, (409,)),
    Route("GET", "/keywords", batches.keyword_rules, "The keyword rules", Nothing, KeywordListing),
    Route("GET", "/keywords/counts", counts.keyword_counts, "Keywords by how often they occur", Nothing, CountListing),
    Route("GET", "/keywords/counts/stream", counts.keyword_changes, "Counts as they change", Nothing, IntentChoice, events=True),
    Route("GET", "/models", models.models, "All versions", Nothing, Nothing),
    Route("GET", "/models/{version}/card", models.model_card, "What a version is", Nothing, Nothing, also=(404,)),
    Route("GET", "/models/{version}/rules", models.model_rules, "How each rule did", Nothing, Nothing, also=(404,)),
    Route("POST", "/models/{version}/activate", rollouts.activate_model, "Activate", Activation, Nothing, also=(404, 409)),
    Route("POST", "/models/{version}/promote", rollouts.promote_model, "Make a candidate serve", Why, Nothing, also=(404, 409)),
    Route("POST", "/models/{version}/rescore", models.rescore_model, "Judge a version again", Why, Nothing, 202, (404, 409)),
    Route(
        "POST",
        "/models/rollback",
        rollouts.rollback,
        "End the candidate, or go back to the version before",
        Why,
        Nothing,
        also=(409,),
    ),
    Route("GET", "/models/at", rollouts.model_at, "The version that served at a moment", Nothing, Moment, also=(404,)),
    Route("GET", "/rollout", rollouts.rollout, "Which replica serves what, and how a candidate does", Nothing, Nothing),
    Route("GET", "/models/activations", rollouts.history, "Every activation, the newest first", Nothing, Nothing),
    Route("GET", "/stats", stats, "Data, trainings, rules, and the effect of each version", Nothing, Nothing),
)
