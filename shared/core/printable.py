"""Makes texts from outside safe to show on terminals and in logs."""


def printable(text: str) -> str:
    """Return the text on one line, with an escape for each character that a terminal would act on or not show.

    Those are control characters (line breaks too), characters that change the direction of writing, and characters
    without a width: all that Unicode does not class as graphic. The escape is Python's, such as `\\x1b`.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
