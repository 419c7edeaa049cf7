"""Lists in pages by a cursor: the place after the last row shown, so that new rows move nothing to another page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.core import signing
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from pydantic import BaseModel

from apps.api.problems import Invalid
from apps.api.schemas.base import Page, Paging

Row = TypeVar("Row", bound=Model)
Item = TypeVar("Item", bound=BaseModel)
NEWEST_FIRST = ("-created_at", "-code")


def page_of(
    request: HttpRequest,
    rows: QuerySet[Row],
    paging: Paging,
    kind: type[Page[Item]],
    shape: Callable[[Row], Item],
    *,
    order: tuple[str, ...] = NEWEST_FIRST,
) -> Page[Item]:
    """Return the wanted page of ``rows`` in ``order``, each in its ``shape``; the last field of it tells any two apart.

    Raises Invalid for a cursor that this list did not give.
    """
    salt = f"cursor:{request.path}"
    found = rows_after(rows, paging.cursor, order, salt=salt)
    page = list(found[: paging.limit + 1])
    following = None
    if len(page) > paging.limit:
        page.pop()
        following = cursor_of(page[-1], order, salt=salt)
    # What ``shape`` made is valid already.
    return kind.model_construct(items=[shape(row) for row in page], next=following)


def cursor_of(row: Model, order: tuple[str, ...], *, salt: str) -> str:
    """Return the signed place of a row in ``order``, which stays where it is when the row is changed or deleted."""
    return signing.dumps([_value(row, field) for field in order], salt=salt)


def rows_after(rows: QuerySet[Row], cursor: str, order: tuple[str, ...], *, salt: str) -> QuerySet[Row]:
    """Return ``rows`` in ``order`` from a place on; from their beginning with no ``cursor``.

    Raises Invalid for a cursor that was not made with this ``salt``.
    """
    found = rows.order_by(*order)
    return found.filter(_after(order, _read(cursor, salt, len(order)))) if cursor else found


def _read(cursor: str, salt: str, length: int) -> list[Any]:
    try:
        place = signing.loads(cursor, salt=salt)
    except signing.BadSignature:
        place = None
    if not isinstance(place, list) or len(place) != length:
        raise Invalid("This cursor is not one of this list; begin again without one.", param="cursor")
    return place


def _value(row: Model, field: str) -> Any:
    value: Any = row
    for name in field.lstrip("-").split("__"):
        value = getattr(value, name)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _after(order: tuple[str, ...], place: list[Any]) -> Q:
    """Return the condition for rows that come after ``place``: later in the first field, or as late there and so on."""
    condition, same = Q(), Q()
    for field, value in zip(order, place, strict=True):
        name = field.lstrip("-")
        condition |= same & Q(**{f"{name}__{'lt' if field.startswith('-') else 'gt'}": value})
        same &= Q(**{name: value})
    return condition
