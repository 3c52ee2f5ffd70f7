"""Masking finds identifiers, leaves what the service needs, and can be repeated."""

import pytest

from schema.privacy import find, mask, pseudonym


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("打我电话13800138000谢谢", "打我电话<PHONE>谢谢"),
        ("电话１３８ ００１３-8000", "电话<PHONE>"),
        ("+86 138 0013 8000", "<PHONE>"),
        ("138\u200b00138000", "<PHONE>"),
        ("\u200b\u200c\u200d\u2060\ufeff".join("13800138000"), "<PHONE>"),
        ("身份证11010519491231002X", "身份证<ID_CARD>"),
        ("号码110105491231002", "号码<ID_CARD>"),
        ("卡号6222 0202 0000 1234 567", "卡号<BANK_CARD>"),
        ("4111111111111111", "<BANK_CARD>"),
        ("座机010-88886666", "座机<LANDLINE>"),
        ("问400-800-1234", "问<LANDLINE>"),
        ("发我zhang.san@example.com", "发我<EMAIL>"),
        ("13800138000和test@example.com", "<PHONE>和<EMAIL>"),
    ],
)
def test_identifiers_are_masked_by_kind(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert mask(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "我1990年5月1日13点生，2027到2029年财运如何",
        "19900501 1330 女",
        "甲子年丙寅月，身弱，缺金",
        "欠了200000块，35岁",
        "订单20261124000123456789",
    ],
)
def test_dates_amounts_and_pillars_stay(text: str) -> None:
    assert mask(text) == text


def test_offsets_point_into_the_original_text() -> None:
    text = "电\u200b话１３８００１３８０００。"
    (found,) = find(text)
    assert (found.type, text[found.start : found.end]) == ("PHONE", "１３８００１３８０００")


def test_a_pseudonym_is_stable_keyed_and_not_taken_twice() -> None:
    once = pseudonym("user-1", "k" * 16)
    assert once == pseudonym("user-1", "k" * 16) == pseudonym(once, "k" * 16)
    assert once != pseudonym("user-1", "other key 123456")
    assert "user-1" not in once
