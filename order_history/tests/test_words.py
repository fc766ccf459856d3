"""Which words names have, and which are looked for."""

import unicodedata
from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from order_history.words import LONGEST_PART, LONGEST_WORD, words_in_search, words_of

LETTERS = "कखगतमसதகமன"
WITH_MARKS = st.tuples(
    st.sampled_from(LETTERS), st.text(LETTERS + "\u093e\u093f\u0940\u0941\u0902\u094d\u0bbe\u0bc0\u0bcd", max_size=5)
).map("".join)
UNSPACED = st.text(st.sampled_from("東京都庁寿司ラーメンต้มยำก"), min_size=1, max_size=12)


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
        ("🍕Place", {"🍕", "place"}),
        ("a\u00a0b\u3000c", {"a", "b", "c"}),
        ("दाल दिल", {"दाल", "दिल"}),
        ("மீன் மான்", {"மீன்", "மான்"}),
        ("İSTANBUL Istanbul istanbul", {"istanbul"}),
        ("ISPARTA ısparta", {"isparta"}),
        ("ΟΔΥΣΣΕΥΣ Οδυσσεύς οδυσσευς", {"οδυσσευσ", "οδυσσεύσ"}),
        ("\ufb01sh", {"fish"}),
        ("Rock´n´Roll", {"rock", "n", "roll"}),
        ("м'ята м’ята м\u02bcята", {"м", "ята"}),
        ("می\u200cخواهم", {"میخواهم"}),
        ("क\u094d\u200dष क\u094dष", {"क\u094dष"}),
        ("שָׁלוֹם שלום", {"שלום"}),
        ("كَبَاب كباب كبـــاب", {"كباب"}),
        ("7 ７ ७ ٧ ๗", {"7"}),
        ("비빔밥 " + unicodedata.normalize("NFD", "비빔밥"), {"비빔밥"}),
        ("soft\u00adhyphen", {"softhyphen"}),
        ("\u202eevil\u202c", {"evil"}),
    ],
)
def test_the_words_of_a_text(text: str, words: set[str]) -> None:
    assert words_in_search(text) == words
    assert words_of(text) >= words


@pytest.mark.parametrize(
    ("name", "found_by", "not_by"),
    [
        ("東京寿司店", ["寿司", "東", "東京寿司店", "寿司 店"], ["司寿", "京店", "東京店"]),
        ("ｶﾞｰﾄﾞラーメンTokyo", ["ガード", "ラーメン", "tokyo"], ["カード", "kyo"]),
        ("ร้านต้มยำกุ้ง", ["ต้มยำ", "กุ้ง", "ยำ"], ["ตม", "ตุ้ม", "กุง"]),
        ("ខ្មែរអង្គរ", ["អង្គរ"], ["អងគរ"]),
        ("Pizza👨‍👩‍👧", ["pizza", "👨‍👩‍👧", "👩"], ["👧👩", "🍕"]),
        ("🇮🇳 Curry 👍🏽", ["🇮🇳", "👍"], ["🇳🇮"]),
    ],
)
def test_what_has_no_spaces_is_found_by_its_parts(name: str, found_by: list[str], not_by: list[str]) -> None:
    assert [text for text in found_by if not words_in_search(text) <= words_of(name)] == []
    assert [text for text in not_by if words_in_search(text) <= words_of(name)] == []


@given(st.text())
def test_a_name_is_found_by_itself(name: str) -> None:
    assert words_in_search(name) <= words_of(name)
    assert not any(character.isspace() for word in words_of(name) for character in word)


@given(st.text(), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_how_a_name_is_encoded_makes_no_difference(name: str, form: Literal["NFC", "NFD", "NFKC", "NFKD"]) -> None:
    assert words_of(unicodedata.normalize(form, name)) == words_of(name)


@given(st.text())
def test_case_makes_no_difference(name: str) -> None:
    assert words_of(name.casefold()) == words_of(name)


@given(st.lists(WITH_MARKS, min_size=1, max_size=3), WITH_MARKS)
def test_another_word_finds_nothing(name: list[str], other: str) -> None:
    assert (words_in_search(other) <= words_of(" ".join(name))) == (other in name)


@given(UNSPACED, st.data())
def test_each_part_finds_what_has_no_spaces(name: str, data: st.DataObject) -> None:
    name = unicodedata.normalize("NFKC", name)
    begins = [at for at, character in enumerate(name) if not unicodedata.category(character).startswith("M")]
    assume(begins)
    begin = data.draw(st.sampled_from(begins))
    end = data.draw(st.sampled_from([*(at for at in begins if at > begin), len(name)]))
    assert words_in_search(name[begin:end]) <= words_of(name)


@given(UNSPACED, UNSPACED)
def test_what_is_no_part_finds_nothing(name: str, other: str) -> None:
    name, other = (unicodedata.normalize("NFKC", text) for text in (name, other))
    assume(other not in name and len(other) <= LONGEST_PART)
    assume(not any(unicodedata.category(text[0]).startswith("M") for text in (name, other)))
    assert not words_in_search(other) <= words_of(name)


def test_the_words_of_several_texts() -> None:
    assert words_of("Pizza Margherita", "Caesar salad") == {"pizza", "margherita", "caesar", "salad"}


def test_long_words_are_told_apart_by_their_beginnings() -> None:
    assert words_of("x" * 1000) == {"x" * LONGEST_WORD}
    assert words_of("y" + "x" * 999) != words_of("x" * 1000)
