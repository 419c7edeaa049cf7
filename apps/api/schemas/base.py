"""What all of the wire format shares: texts without control characters, the shape of a no, pages of a list."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
)

Item = TypeVar("Item", bound=BaseModel)
# One line that says something; one that may be empty; several lines. Databases take no NUL, and pages show no controls.
_LINE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
_LINE_OR_NONE = r"^[^\x00-\x1f\x7f]*$"
_TEXT = r"^[^\x00]*$"
_RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}(?:$|[T ])", re.IGNORECASE)
Name = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=_LINE)]
FullName = Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=_LINE)]
FileName = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=_LINE)]
Line = Annotated[str, StringConstraints(max_length=200, pattern=_LINE_OR_NONE)]
Text = Annotated[str, StringConstraints(max_length=1000, pattern=_TEXT)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=10_000, pattern=_TEXT)]
LongText = Annotated[str, StringConstraints(max_length=10_000, pattern=_TEXT)]


def _typed(*kinds: type) -> Any:
    """Return a validator that takes JSON values of these types alone; forms and addresses carry texts only."""

    def exact(value: Any, info: ValidationInfo) -> Any:
        request = (info.context or {}).get("request")
        if value is None or request is None:
            return value
        if request.method == "GET" or request.content_type != "application/json":
            if bool in kinds and value not in ("true", "false"):
                raise ValueError("Input should be true or false")
            return value
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ValueError(f"Input should be {'true or false' if bool in kinds else 'a number'}")
        return value

    return BeforeValidator(exact)


def _moment(value: Any) -> Any:
    """Take dates and times as RFC 3339 writes them: a number, too, would be taken for one."""
    if value is not None and not (isinstance(value, str) and _RFC_3339.match(value)):
        raise ValueError("Input should be as in 2026-01-31 or 2026-01-31T12:00:00Z")
    return value


Yes = Annotated[bool, _typed(bool)]
# Comes after the bounds of a number, which the document would not tell else.
NUMBER = _typed(int, float)
Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Day = Annotated[date, BeforeValidator(_moment)]


def one_of(names: Iterable[str]) -> Any:
    """Return what OpenAPI is told of a word that is one of ``names``; that it is one is checked by the form."""
    return Field(max_length=40, json_schema_extra={"enum": list(names)})


class Given(BaseModel):
    """What is sent to us: nothing that is not known, no number that is none."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Fault(BaseModel):
    """One no: for programs ``type`` and ``code``, for people ``message``."""

    type: str
    code: str
    message: str
    param: str | None = Field(description="The field that it is about.")
    request_id: str = Field(description="As in the header X-Request-ID; tell it to us when something is wrong.")


class Problem(BaseModel):
    """How every no is answered."""

    error: Fault


class Paging(BaseModel):
    """Which part of a list is wanted."""

    cursor: str = Field(default="", max_length=500, description="`next` of the page before; empty for the first.")
    limit: int = Field(default=50, ge=1, le=100)


class Page(BaseModel, Generic[Item]):
    """One part of a list, newest first."""

    items: list[Item]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


class Since(BaseModel):
    """A part of a list by time."""

    since: Moment | None = Field(default=None, description="Only what was made at this time or later.")
