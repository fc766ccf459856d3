"""Entities as SQLAlchemy tables: a row is described once, by its dataclass."""

import dataclasses
from datetime import datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from sqlalchemy import BigInteger, Boolean, Column, DateTime, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from shared.core.serialization import Json
from shared.eventsourcing.aggregate import Entity
from shared.saga.instance import SagaInstance
from shared.unit_of_work.idempotency import KeptAnswer

_SIMPLE: dict[type, TypeEngine[Any]] = {
    bool: Boolean(),
    datetime: DateTime(timezone=True),
    int: BigInteger(),
    str: Text(),
}


def table_of(cls: type[Entity], name: str) -> Table:
    """Return the table `name` whose columns are the fields of the entity.

    Texts and enums are `text`, whole numbers `bigint`, times `timestamptz`, truth values `boolean`, and everything else
    is JSON. The migration that makes the table may be narrower, with `int` for `bigint` for example.
    """
    hints = get_type_hints(cls)
    return Table(
        name,
        MetaData(),
        *(
            Column(field.name, _column_type(hints[field.name]), primary_key=field.name == "id")
            for field in dataclasses.fields(cls)
        ),
    )


def _column_type(hint: Any) -> TypeEngine[Any]:
    if hint is Json:
        return JSONB()
    if get_origin(hint) in (Union, UnionType):
        alternatives = [each for each in get_args(hint) if each is not NoneType]
        if len(alternatives) == 1:
            return _column_type(alternatives[0])
    while hasattr(hint, "__supertype__"):  # NewType
        hint = hint.__supertype__
    if isinstance(hint, type):
        if issubclass(hint, Enum):
            return Text()
        if hint in _SIMPLE:
            return _SIMPLE[hint]
    return JSONB()


FRAMEWORK_TABLES: dict[type[Entity], Table] = {
    SagaInstance: table_of(SagaInstance, "sagas"),
    KeptAnswer: table_of(KeptAnswer, "idempotency_keys"),
}
