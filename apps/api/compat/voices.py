"""ElevenLabs' voices: listed, searched, cloned at once from files, renamed, deleted; and the files they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db.models import Prefetch, Q, QuerySet, prefetch_related_objects

from apps.accounts.models import User
from apps.api.auth import ApiRequest
from apps.api.compat import consents, formats, voice_settings, waiting
from apps.api.compat.answers import No
from apps.api.compat.door import call, line, whole
from apps.api.compat.lookup import answer, code_of, sample_of, voice_of
from apps.api.limits import Route
from apps.api.paging import cursor_of, rows_after
from apps.api.problems import Invalid
from apps.errors import Refused
from apps.voices.forms import VoiceForm
from apps.voices.models import Recording, Voice, VoiceModel
from apps.voices.services import recordings
from apps.voices.services import voices as services
from apps.voices.services.consents import give_consent
from ml.catalog import PRESETS

CLONED, PROFESSIONAL = "cloned", "professional"
# After so long the voice is answered although its model is not finished: it is by the time it is first used, or later.
CLONE_SECONDS = 100.0
MOST_VOICES = 1000
_WORDS = {"required": "missing", "max_length": "string_too_long"}  # theirs for what a form says no to
_SORTS = {"name": "name", "created_at_unix": "created_at"}


@call("viewer")
def every(request: ApiRequest) -> Any:
    """Answer the voices of the workspace by name, at most as many as one answer holds."""
    return answer({"voices": [shown(voice) for voice in _rows(request)[:MOST_VOICES]]})


@call("viewer")
def search(request: ApiRequest) -> Any:
    """Answer a page of voices; the token of the next page is the place of the last voice of this one."""
    asked = request.GET
    size = whole(asked.get("page_size"), usual=10, least=1, most=100, field="query.page_size")
    found = _filtered(request)
    sort = asked.get("sort") or "name"
    if sort not in _SORTS:
        message = f"Voices can be sorted by {' or '.join(_SORTS)}."
        raise No(message, status=422, word="enum", field="query.sort")
    column, down = _SORTS[sort], asked.get("sort_direction") == "desc"
    order = (f"-{column}", "-code") if down else (column, "code")
    salt = f"voices:{order[0]}"
    try:
        rows = rows_after(found, asked.get("next_page_token", ""), order, salt=salt)
    except Invalid:
        message = "This is no token of this list in this order; begin anew."
        raise No(message, status=422, field="query.next_page_token") from None
    page = list(rows[: size + 1])
    more, page = len(page) > size, page[:size]
    token = cursor_of(page[-1], order, salt=salt) if more else None
    voices = [shown(voice) for voice in page]
    return answer({"voices": voices, "has_more": more, "total_count": found.count(), "next_page_token": token})


def _filtered(request: ApiRequest) -> QuerySet[Voice]:
    asked, rows = request.GET, _rows(request)
    if text := line(asked.get("search", ""), field="query.search"):
        rows = rows.filter(Q(name__icontains=text) | Q(description__icontains=text))
    if codes := asked.getlist("voice_ids"):
        rows = rows.filter(code__in=map(code_of, codes))
    if asked.get("voice_type") in ("community", "default", "saved"):
        rows = rows.none()  # all voices here are the workspace's own
    trained = Q(models__active=True, models__kind=VoiceModel.Kind.TRAINED)
    match asked.get("category"):
        case "professional":
            rows = rows.filter(trained)
        case "cloned":
            rows = rows.exclude(pk__in=request.caller.workspace.voices.filter(trained))
        case None | "":
            pass
        case _:
            rows = rows.none()
    return rows


def _rows(request: ApiRequest) -> QuerySet[Voice]:
    return request.caller.workspace.voices.select_related("workspace").prefetch_related(*_parts())


def _parts() -> list[Any]:
    """What ``shown`` reads of a voice's rows, without the long columns that it does not."""
    models = Prefetch("models", VoiceModel.objects.only("voice", "kind", "active"))
    return [Prefetch("recordings", Recording.objects.defer("script")), models, "conversion_presets"]


@call("viewer")
def detail(request: ApiRequest, voice: str) -> Any:
    """Answer one voice."""
    row = voice_of(request, voice)
    prefetch_related_objects([row], *_parts())
    return answer(shown(row))


@call("admin", Route.NORMAL)
def delete(request: ApiRequest, voice: str) -> Any:
    """Delete a voice with all that came of it."""
    services.delete_voice(voice=voice_of(request, voice), user=request.caller.user)
    return answer({"status": "ok"})


@call("editor", Route.DEAR)
def edit(request: ApiRequest, voice: str) -> Any:
    """Rename or describe a voice, and add files to what it may be trained on."""
    row = voice_of(request, voice)
    name, description = _words(request, usual=row.description)
    services.rename_voice(voice=row, name=name, description=description)
    _add_files(row, request.caller.user, _files(request))
    return answer({"status": "ok"})


@call("editor", Route.DEAR)
async def add(request: ApiRequest) -> Any:
    """Clone a voice from files at once, with the consent that the labels say."""
    user = request.caller.user
    async with waiting.seat_in(request.caller.workspace):
        voice = await sync_to_async(_create)(request)
        try:
            await waiting.until_ready(voice, user, waiting.Patience(CLONE_SECONDS))
        except Refused:
            # No voice can be made of these files, so none is left behind.
            await sync_to_async(services.delete_voice)(voice=voice, user=user)
            raise
    return answer({"voice_id": str(voice.code), "requires_verification": False})


def _create(request: ApiRequest) -> Voice:
    workspace, user = request.caller.workspace, request.caller.user
    (name, description), files = _words(request), _files(request)
    if not files:
        raise No("Send at least one file.", status=422, word="missing", field="body.files")
    terms = consents.terms_of(consents.labels_of(request.POST.get("labels")), voice=name, workspace=workspace)
    voice = services.create_voice(workspace=workspace, user=user, name=name, description=description)
    try:
        give_consent(voice=voice, user=user, terms=terms)
        _add_files(voice, user, files)
    except Refused:
        services.delete_voice(voice=voice, user=user)
        raise
    return voice


def _add_files(voice: Voice, user: User, files: list[TemporaryUploadedFile]) -> None:
    for file in files:
        path = Path(file.temporary_file_path())
        recordings.add_recording(voice=voice, user=user, path=path, name=file.name or "")


def _files(request: ApiRequest) -> list[TemporaryUploadedFile]:
    files = request.FILES.getlist("files")
    return [file for file in files if isinstance(file, TemporaryUploadedFile)]


def _words(request: ApiRequest, *, usual: str = "") -> tuple[str, str]:
    """Return the name and the description (``usual`` when none is sent) as the page's form takes them."""
    sent = request.POST
    form = VoiceForm({"name": sent.get("name"), "description": sent.get("description", usual)})
    if not form.is_valid():
        field, errors = next(iter(form.errors.as_data().items()))
        word = _WORDS.get(errors[0].code or "", "value_error")
        raise No(str(errors[0].messages[0]), status=422, word=word, field=f"body.{field}")
    return line(form.cleaned_data["name"], field="body.name"), form.cleaned_data["description"]


@call("viewer")
def sample_audio(request: ApiRequest, voice: str, sample: str) -> Any:
    """Answer a file that a voice was made of, as received."""
    row = sample_of(request, voice, sample)
    return formats.stored(request, row.file, content_type=row.content_type, name=row.name, size=row.size)


@call("admin", Route.NORMAL)
def sample_delete(request: ApiRequest, voice: str, sample: str) -> Any:
    """Delete a file that a voice was made of."""
    recordings.delete_recording(recording=sample_of(request, voice, sample), user=request.caller.user)
    return answer({"status": "ok"})


def shown(voice: Voice) -> dict[str, Any]:
    """Return a voice as ElevenLabs' clients read it."""
    active = next((model for model in voice.models.all() if model.active), None)
    trained = active is not None and active.kind == VoiceModel.Kind.TRAINED
    models = [voice_settings.model_of(preset) for preset in PRESETS]
    return {
        "voice_id": str(voice.code),
        "name": voice.name,
        "samples": [_sample(recording) for recording in voice.recordings.all()],
        "category": PROFESSIONAL if trained else CLONED,
        "fine_tuning": {
            "is_allowed_to_fine_tune": True,
            "state": dict.fromkeys(models, "fine_tuned") if trained else {},
        },
        "labels": {},
        "description": voice.description,
        "preview_url": None,
        "available_for_tiers": [],
        "settings": voice_settings.shown(voice_settings.options_of(voice)),
        "sharing": None,
        "high_quality_base_model_ids": models,
        "verified_languages": [],
        "permission_on_resource": None,
        "is_owner": True,
        "is_legacy": False,
        "is_mixed": False,
        "created_at_unix": int(voice.created_at.timestamp()),
    }


def _sample(recording: Recording) -> dict[str, Any]:
    return {
        "sample_id": str(recording.code),
        "file_name": recording.name,
        "mime_type": recording.content_type,
        "size_bytes": recording.size,
        "hash": recording.sha256,
        "duration_secs": recording.duration,
    }
