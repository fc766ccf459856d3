"""The words that orders are found by: of names in any script, and of what somebody searches for.

Two texts that people take for the same must give the same words. Unicode says when that is so for letters (its
normalization and case folding); `_folded` adds what people don't write, or write differently.
"""

import unicodedata
from collections.abc import Iterator
from enum import Enum, auto
from functools import lru_cache
from itertools import groupby

LONGEST_WORD = 100
"""Longer words are told apart by their beginnings only: an index does not take words of any length."""
LONGEST_PART = 3
"""Characters of the longest part that is kept of a text without spaces. Longer ones are found by all parts of this
length: a text that has each of them somewhere, and not the whole in one place, is as good as never met."""

_UNSPACED = (
    *("CJK ", "IDEOGRAPHIC ", "HIRAGANA ", "KATAKANA", "BOPOMOFO ", "VERTICAL KANA ", "YI "),
    *("THAI ", "LAO ", "KHMER ", "MYANMAR ", "TAI ", "NEW TAI ", "BALINESE ", "JAVANESE "),
)
"""How the names of letters begin (as Unicode has them) whose languages put no spaces between words."""
_SIGNS = {"So", "Cn", "Co"}
"""Symbols such as emoji, also newer ones that this Python doesn't know yet: nobody puts spaces between them either."""
_MANY_CHARACTERS = 4096


class _Kind(Enum):
    SPACED = auto()
    UNSPACED = auto()
    BETWEEN = auto()


def words_of(*texts: str) -> frozenset[str]:
    """Returns the words that a thing with these names is found by.

    A word is a run of letters, digits and the marks on them, in lower case: `O'Brien's fish & chips` has o, brien, s,
    fish, & and chips. What stands alone between spaces is a word too, so that looking for it does not find everything.
    In languages without spaces, each part of up to three characters is a word: 東京寿司 is found by 寿司.
    """
    return frozenset(
        part
        for kind, characters in _runs(texts)
        for length in (range(1, LONGEST_PART + 1) if kind is _Kind.UNSPACED else (len(characters),))
        for part in _parts(characters, length)
    )


def words_in_search(*texts: str) -> frozenset[str]:
    """Returns the words of search texts. A thing must have all of them to be found."""
    return frozenset(
        part
        for kind, characters in _runs(texts)
        for part in _parts(
            characters, min(len(characters), LONGEST_PART) if kind is _Kind.UNSPACED else len(characters)
        )
    )


def _parts(characters: list[str], length: int) -> Iterator[str]:
    for begin in range(len(characters) - length + 1):
        yield "".join(characters[begin : begin + length])[:LONGEST_WORD]


def _runs(texts: tuple[str, ...]) -> Iterator[tuple[_Kind, list[str]]]:
    """Returns the runs of characters of one kind, each character with its marks."""
    for text in texts:
        for piece in _folded(text).split():
            runs = [
                (kind, [character for _, character in run])
                for kind, run in groupby(_characters(piece), key=lambda each: each[0])
            ]
            yield from [run for run in runs if run[0] is not _Kind.BETWEEN] or runs


def _characters(piece: str) -> Iterator[tuple[_Kind, str]]:
    """Returns each character with its marks. Marks without a character, as in folded `Rock´n´Roll`, are in no word."""
    kind, character = _Kind.BETWEEN, ""
    for char in piece:
        if unicodedata.category(char)[0] == "M":
            character += char
            continue
        if character:
            yield kind, character
        kind, character = _kind(char), char
    if character:
        yield kind, character


@lru_cache(_MANY_CHARACTERS)
def _kind(char: str) -> _Kind:
    if unicodedata.category(char) in _SIGNS:
        return _Kind.UNSPACED
    if char.isalnum():
        return _Kind.UNSPACED if unicodedata.name(char, "").startswith(_UNSPACED) else _Kind.SPACED
    return _Kind.SPACED if char == "_" else _Kind.BETWEEN


def _folded(text: str) -> str:
    """Returns the text for comparison: without case, compatibility forms, and all that `_plain` leaves out."""
    text = unicodedata.normalize("NFD", text).casefold()  # in this order: Unicode's definition 146
    text = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(map(_plain, text)).replace("i\N{COMBINING DOT ABOVE}", "i")
    return unicodedata.normalize("NFKC", plain)


@lru_cache(_MANY_CHARACTERS)
def _plain(char: str) -> str:
    """Returns the character for comparison: nothing for one that isn't visible or needn't be written."""
    if char in _ALIKE:
        return _ALIKE[char]
    if unicodedata.category(char) == "Nd":
        return str(unicodedata.decimal(char))
    is_left_out = unicodedata.category(char) == "Cf" or unicodedata.name(char, "").startswith(_LEFT_OUT)
    return "" if is_left_out else char


_ALIKE = {
    "\N{LATIN SMALL LETTER DOTLESS I}": "i",  # Turkish I is i in lower case for everybody else
    "\N{MODIFIER LETTER TURNED COMMA}": "'",  # Hawaiian, Uzbek; mostly typed as an apostrophe
    "\N{MODIFIER LETTER APOSTROPHE}": "'",  # Ukrainian
}
_LEFT_OUT = (
    *("VARIATION SELECTOR", "MONGOLIAN FREE VARIATION SELECTOR", "MONGOLIAN VOWEL SEPARATOR", "EMOJI MODIFIER "),
    *("COMBINING GRAPHEME JOINER", "HANGUL CHOSEONG FILLER", "HANGUL JUNGSEONG FILLER", "KHMER VOWEL INHERENT "),
    # Points and vowel signs that hardly anybody writes. Those of hamza and madda belong to their letters.
    *("HEBREW POINT ", "HEBREW ACCENT ", "HEBREW MARK ", "ARABIC TATWEEL"),
    *(f"ARABIC {mark}" for mark in ("FATHA", "DAMMA", "KASRA", "SHADDA", "SUKUN", "LETTER SUPERSCRIPT ALEF")),
)
