"""The character tokenizer of the built-in base: one token per Chinese character, letters and digits as word pieces."""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Final

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MIN_COUNT: Final = 2
"""A character beyond the common ones gets a token if the texts hold it this often."""


def common_characters() -> list[str]:
    """The 3,755 first-level characters of GB 2312, in its order."""
    codes = (bytes((row, cell)) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF))
    return [c.decode("gb2312") for c in codes if not (c[0] == 0xD7 and c[1] > 0xF9)]


def make_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer that knows the common characters and those that `texts` (prepared ones) hold at least twice.

    The same texts in any order give the same vocabulary.
    """
    counts = Counter(character for text in texts for character in text)
    latin = string.ascii_lowercase + string.digits
    frequent = sorted(c for c, n in counts.items() if n >= MIN_COUNT and not c.isspace() and not unicodedata.combining(c))
    single = dict.fromkeys([*latin, *string.punctuation, *"，。？！、；：“”‘’（）《》…—～·", *common_characters(), *frequent])
    tokens = [*SPECIAL, *single, *(f"##{c}" for c in single if not _is_ideograph(c))]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def _is_ideograph(character: str) -> bool:
    return "一" <= character <= "鿿" or "㐀" <= character <= "䶿"
