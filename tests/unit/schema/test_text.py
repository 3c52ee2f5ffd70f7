"""The held-out split: copies of a question fall on the same side, for ever."""

from schema.text import is_held_out, normalise, text_hash


def test_copies_in_another_writing_have_one_hash() -> None:
    copies = ["2027年 事業運勢，如何？", "２０２８年事业运势如何", "2027年事业运势…如何!!", "1年事業運勢如何"]
    assert len({text_hash(copy) for copy in copies}) == 1


def test_the_side_of_a_question_never_changes() -> None:
    """Membership is fixed by the text alone; this pins the function itself."""
    assert normalise("今年財運？😀 A1") == "今年财运a0"
    assert text_hash("今年财运").hex() == "bb4b0d12e5e6aeac61d618c10e09636f"


def test_about_a_fifth_is_held_out() -> None:
    held_out = sum(is_held_out(f"问题{chr(0x4E00 + i)}{chr(0x5E00 + i)}") for i in range(5000))
    assert 900 < held_out < 1100
