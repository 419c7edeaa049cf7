"""Checks a request's parameters against the types that the ``stripe`` package itself publishes for each method.

They come as text, the way a form carries them: ``items[0][price]=price_1``. A name the method does not have, a value of
another type and a missing one are refused, as Stripe does. Where the package leaves a choice open (``Literal[...] |
str``, for values of later versions) only the named ones pass: we send none of a later version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl

from stripe._request_options import RequestOptions
from typing_extensions import is_typeddict

Json = dict[str, Any]


class Invalid(Exception):
    """A request that Stripe would refuse (400)."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message, self.param, self.code = message, param, code


def decode(text: str) -> Json:
    """Return the nested parameters of a form body or a query: ``a[b][0]=c`` is ``{"a": {"b": {"0": "c"}}}``."""
    found: Json = {}
    for name, value in parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=1000):
        if not re.fullmatch(r"\w+(\[\w*\])*", name):
            raise Invalid(f"Invalid name: {name}", param=name, code="parameter_unknown")
        first, *inner = re.findall(r"\w+|(?<=\[)(?=\])", name)
        place, key = found, first
        for part in inner:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise Invalid(f"Invalid object: {name}", param=name)
            key = part or str(len(place))
        if key in place:
            raise Invalid(f"Received {name} twice.", param=name)
        place[key] = value
    return found


def validate(given: Json, parameters: type[Any] | None) -> Json:
    """Return the parameters as values of their types. Raises Invalid for what the method does not take."""
    return _typed_dict(given, parameters, "") if parameters is not None else _nothing(given)


def _nothing(given: Json) -> Json:
    for name in given:
        raise Invalid(f"Received unknown parameter: {name}", param=name, code="parameter_unknown")
    return {}


@cache
def _hints(parameters: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(
        parameters, localns={"StripeContext": str, "UntypedStripeObject": _Other, "Mapping": Mapping}
    )
    return {name: hint for name, hint in hints.items() if name not in RequestOptions.__annotations__}


class _Other:
    """Stands for a class of the package that only Python callers can hand over."""

    def __class_getitem__(cls, item: Any) -> type[_Other]:
        return cls


def _typed_dict(given: Any, parameters: type[Any], path: str) -> Json:
    if not isinstance(given, dict):
        raise Invalid(f"Invalid object: {path}", param=path)
    hints, result = _hints(parameters), {}
    for name, value in given.items():
        where = f"{path}[{name}]" if path else name
        if name not in hints:
            raise Invalid(f"Received unknown parameter: {where}", param=where, code="parameter_unknown")
        result[name] = _value(value, hints[name], where)
    for name in parameters.__required_keys__:  # type: ignore[attr-defined]
        if name in hints and name not in result:
            where = f"{path}[{name}]" if path else name
            raise Invalid(f"Missing required param: {where}.", param=where, code="parameter_missing")
    return result


def _value(given: Any, hint: Any, path: str) -> Any:
    origin = get_origin(hint)
    if origin in (NotRequired, Required, Annotated):
        return _value(given, get_args(hint)[0], path)
    if origin in (Union, UnionType):
        return _one_of(given, get_args(hint), path)
    if is_typeddict(hint):
        return _typed_dict(given, hint, path)
    if origin is list:
        return _list(given, get_args(hint)[0], path)
    if origin in (dict, Mapping) or isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(given, get_args(hint)[1], path)
    return _plain(given, hint, path)


def _one_of(given: Any, choices: tuple[Any, ...], path: str) -> Any:
    named = [choice for choice in choices if get_origin(choice) is Literal and any(get_args(choice))]
    if named:
        choices = tuple(choice for choice in choices if choice is not str)
    refusals = []
    for choice in choices:
        try:
            return _value(given, choice, path)
        except Invalid as refusal:
            refusals.append(refusal)
    # The one that came furthest tells most: a wrong name deep in an object rather than that it is no text.
    raise max(refusals, key=lambda refusal: len(refusal.param or ""))


def _list(given: Any, hint: Any, path: str) -> list[Any]:
    if not isinstance(given, dict) or sorted(given, key=_number) != [str(n) for n in range(len(given))]:
        raise Invalid(f"Invalid array: {path}", param=path)
    return [_value(given[key], hint, f"{path}[{key}]") for key in sorted(given, key=_number)]


def _number(key: str) -> int:
    return int(key) if key.isdecimal() else -1


def _mapping(given: Any, hint: Any, path: str) -> Json:
    if not isinstance(given, dict):
        raise Invalid(f"Invalid object: {path}", param=path)
    if path.endswith("metadata"):
        _check_metadata(given, path)
    return {key: _value(value, hint, f"{path}[{key}]") for key, value in given.items()}


def _check_metadata(given: Json, path: str) -> None:
    if len(given) > 50 or any(len(key) > 40 or len(str(value)) > 500 for key, value in given.items()):
        raise Invalid("Metadata can have 50 keys of 40 characters with values of 500.", param=path)


def _plain(given: Any, hint: Any, path: str) -> Any:
    if not isinstance(given, str):
        raise Invalid(f"Invalid {getattr(hint, '__name__', hint)}: {path}", param=path)
    if get_origin(hint) is Literal:
        if given not in get_args(hint):
            wanted = ", ".join(map(str, get_args(hint)))
            raise Invalid(f"Invalid {path}: must be one of {wanted}", param=path)
        return given
    if hint is str:
        if len(given) > 5000:
            raise Invalid(f"Invalid string: {path} is too long", param=path)
        return given
    if hint is bool and given in ("true", "false"):
        return given == "true"
    if hint is int and re.fullmatch(r"-?\d{1,18}", given):
        return int(given)
    if hint in (float, Decimal):
        try:
            return hint(given)
        except (ValueError, InvalidOperation):
            pass
    raise Invalid(f"Invalid {getattr(hint, '__name__', hint)}: {path}", param=path)
