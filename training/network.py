"""The network: a BERT encoder, the mean over its tokens, one logit per intent.

The mean instead of the [CLS] token, because a small encoder that starts from nothing learns it from hundreds of questions;
with [CLS] the same rows and steps gave a macro-F1 of 0.25 instead of 0.85 over the intents that had rows.
Weights are named as in any Hugging Face BERT, so a checkpoint of that kind can be loaded as the start.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import BertConfig, BertModel, BertPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class IntentClassifier(BertPreTrainedModel):  # type: ignore[misc]  # transformers publishes no types
    """BERT with a mean-pooled linear head. The loss is the trainer's (`training.finetune.WeightedTrainer`)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.dropout = torch.nn.Dropout(config.hidden_dropout_prob)
        self.classifier = torch.nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> SequenceClassifierOutput:
        """Logits [batch, labels] of token ids and mask, both int64 [batch, tokens]."""
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(mean)))
