"""Which words names have."""

import pytest

from order_history.history import LONGEST_WORD, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", set()),
        ("  \t\n ", set()),
        ("Pizza Margherita", {"pizza", "margherita"}),
        ("PIZZA pizza", {"pizza"}),
        ("Luigi's chicken-vindaloo, hot!", {"luigi", "s", "chicken", "vindaloo", "hot"}),
        ("Weißwurst", {"weisswurst"}),
        ("WEISSWURST", {"weisswurst"}),
        ("Crème brûlée", {"crème", "brûlée"}),
        ("Cre\u0300me bru\u0302le\u0301e", {"crème", "brûlée"}),
        ("ＰＩＺＺＡ", {"pizza"}),
        ("寿司 7up", {"寿司", "7up"}),
        ("fish & chips", {"fish", "&", "chips"}),
        ("🍕 Place", {"🍕", "place"}),
        ("a\u00a0b\u3000c", {"a", "b", "c"}),
    ],
)
def test_the_words_of_a_text(text: str, words: set[str]) -> None:
    assert words_of(text) == words


def test_the_words_of_several_texts() -> None:
    assert words_of("Pizza Margherita", "Caesar salad") == {"pizza", "margherita", "caesar", "salad"}


def test_long_words_are_told_apart_by_their_beginnings() -> None:
    assert words_of("x" * 1000) == {"x" * LONGEST_WORD}
    assert words_of("y" + "x" * 999) != words_of("x" * 1000)
