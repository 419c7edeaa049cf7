"""JSON <-> the dataclasses of this package, by their type hints."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, asdict, fields, is_dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin
from uuid import UUID

from voicecloud_client.errors import UnexpectedAnswer

Kind = TypeVar("Kind")
_TEXTS: dict[Any, Any] = {UUID: UUID, datetime: datetime.fromisoformat, date: date.fromisoformat}


def decode(kind: type[Kind], value: Any, place: str = "answer") -> Kind:
    """Return ``value`` as ``kind``. Raises UnexpectedAnswer, which names the place, when it is none.

    Fields that the kind does not have are passed over: a newer server may tell more.
    """
    decoded: Kind = _decode(kind, value, place)
    return decoded


def _decode(kind: Any, value: Any, place: str) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _one_of(get_args(kind), value, place)
    if origin is Literal and value in get_args(kind):
        return value
    if origin is list and isinstance(value, list):
        return [_decode(get_args(kind)[0], each, f"{place}[{index}]") for index, each in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {name: _decode(get_args(kind)[1], each, f"{place}.{name}") for name, each in value.items()}
    if is_dataclass(kind) and isinstance(value, dict):
        return _filled(kind, value, place)
    return _plain(kind, value, place)


def _one_of(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    chosen = [kind for kind in kinds if kind is not type(None)]
    for kind in chosen[:-1]:
        try:
            return _decode(kind, value, place)
        except UnexpectedAnswer:
            continue  # the next kind may fit, and the last one tells when none does
    return _decode(chosen[-1], value, place)


def _filled(kind: Any, value: dict[str, Any], place: str) -> Any:
    given: dict[str, Any] = {}
    for name, hint in hints(kind).items():
        if name in value:
            given[name] = _decode(hint, value[name], f"{place}.{name}")
        elif name in _required(kind):
            raise UnexpectedAnswer(f"The server's {place} has no “{name}”; it may be of another version.")
    return kind(**given)


def _plain(kind: Any, value: Any, place: str) -> Any:
    if kind in _TEXTS and isinstance(value, str):
        try:
            return _TEXTS[kind](value)
        except ValueError:
            pass  # told below, like any other value of the wrong kind
    elif kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif kind in (str, int, bool) and type(value) is kind:
        return value
    raise UnexpectedAnswer(f"The server's {place} is {value!r:.80}, which this version of the client does not know.")


@cache
def hints(kind: Any) -> dict[str, Any]:
    """Return the type of each field of a dataclass."""
    found = typing.get_type_hints(kind)
    return {field.name: found[field.name] for field in fields(kind)}


@cache
def _required(kind: Any) -> frozenset[str]:
    return frozenset(field.name for field in fields(kind) if field.default is MISSING)


def encode(value: Any) -> Any:
    """Return a value of this package as JSON carries it."""
    if is_dataclass(value) and not isinstance(value, type):
        return encode(asdict(value))
    if isinstance(value, dict):
        return {str(name): encode(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(each) for each in value]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def given(value: Any = None, **fields_of_it: Any) -> dict[str, Any]:
    """Return what was chosen, of a dataclass and by name, as JSON carries it; None is what was not chosen."""
    everything = {**(asdict(value) if value is not None else {}), **fields_of_it}
    return {name: encode(each) for name, each in everything.items() if each is not None}
