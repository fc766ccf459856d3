"""Texts of others where people read them: on terminals, in logs."""


def printable(text: str) -> str:
    """The text on one line, with an escape for each character that a terminal would act on, or not show.

    Those are control characters (line breaks too), what turns the direction of writing, and what has no width:
    everything that Unicode does not hold to be graphic. `\\x1b` stands for an Escape, as in Python.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
