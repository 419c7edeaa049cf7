"""The rules of the site's own forms, held to by programs too: what a page would not take, the API does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar
from uuid import UUID

from django import forms
from django.db.models import Model, QuerySet

from apps.api.problems import Invalid

Form = TypeVar("Form", bound=forms.BaseForm)
Row = TypeVar("Row", bound=Model)


def require_valid(form: Form, *, called: Mapping[str, str] | None = None) -> Form:
    """Return the form when it is valid, else raise Invalid with its first error.

    ``called`` are fields that have another name in the API.
    """
    if form.is_valid():
        return form
    field, sentences = next(iter(form.errors.items()))
    name = (called or {}).get(field, field)
    raise Invalid(str(sentences[0]), param="" if field == "__all__" else name)


def named(rows: QuerySet[Row], code: UUID, *, param: str, what: str) -> Row:
    """Return the row that a field names. Raises Invalid (404) when the workspace has none of that code."""
    row = rows.filter(code=code).first()
    if row is None:
        raise Invalid(f"There is no such {what} in this workspace.", param=param, status=404)
    return row
