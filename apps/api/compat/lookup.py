"""What the nouns of the compatible APIs share: rows of the caller's workspace by the ids that their SDKs send."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from django.http import JsonResponse

from apps.api.auth import ApiRequest
from apps.api.compat.answers import No
from apps.jobs.models import Artifact
from apps.studio.models import Conversion
from apps.voices.models import Recording, Voice

NOTHING = UUID(int=0)


def answer(found: Any, *, headers: dict[str, str] | None = None) -> JsonResponse:
    """Return ``found`` as JSON."""
    return JsonResponse(found, safe=False, headers={"Cache-Control": "private, no-store", **(headers or {})})


def code_of(text: str) -> UUID:
    """Return the code that an id is. Ids of other services are no UUIDs; they become one that nothing has."""
    try:
        return UUID(text)
    except ValueError:
        return NOTHING


def voice_of(request: ApiRequest, code: str) -> Voice:
    """Return the voice of the caller's workspace. Raises No (404)."""
    workspace = request.caller.workspace
    row = workspace.voices.filter(code=code_of(code)).first()
    if row is None:
        raise No(f"There is no voice {code} in this workspace.", status=404, word="voice_not_found")
    row.workspace = workspace
    return row


def sample_of(request: ApiRequest, voice: str, code: str) -> Recording:
    """Return a recording of the workspace's voice. Raises No (404)."""
    row = voice_of(request, voice).recordings.filter(code=code_of(code)).select_related("voice__workspace").first()
    if row is None:
        raise No(f"There is no sample {code} of this voice.", status=404, word="sample_not_found")
    return row


def conversions(request: ApiRequest) -> QuerySet[Conversion]:
    """Return the conversions of the caller's workspace, without the long figures that nothing here shows."""
    rows = request.caller.workspace.conversions.select_related("voice", "source", "job__usage", "workspace")
    made = Prefetch("job__artifacts", Artifact.objects.defer("data"))
    return rows.prefetch_related(made).defer("curves", "metrics")


def conversion_of(request: ApiRequest, code: str) -> Conversion:
    """Return the conversion of the caller's workspace. Raises No (404)."""
    return conversions_of(request, [code])[0]


def conversions_of(request: ApiRequest, codes: Iterable[str]) -> list[Conversion]:
    """Return conversions of the caller's workspace in the order of their ids. Raises No (404) when one is not there."""
    wanted = {code: code_of(code) for code in codes}
    found = {row.code: row for row in conversions(request).filter(code__in=wanted.values())}
    for text, code in wanted.items():
        if code not in found:
            raise No(f"There is no history item {text} in this workspace.", status=404, word="history_item_not_found")
    return [found[code] for code in dict.fromkeys(wanted.values())]
