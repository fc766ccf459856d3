"""Ids: UUIDs that sort by the time they were made (version 7, RFC 9562), and those that follow from another id."""

from uuid import UUID, uuid5

import uuid_utils

_DERIVED = UUID("6f1d7a52-8a0e-5d35-9a6f-0f6c3a1d2b77")


def new_id() -> str:
    """Return a new, unique id."""
    return str(uuid_utils.uuid7())


def derived_id(*parts: str) -> str:
    """Return the same id for the same parts.

    What a repeated message creates gets the same id as the first time.
    """
    return str(uuid5(_DERIVED, "/".join(parts)))
