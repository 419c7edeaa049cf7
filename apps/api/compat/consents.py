"""The consent that a clone needs, said in the request that makes it.

On the page somebody reads the statement that their choices make and agrees to it. Here the same is done by sending the
statement itself, word for word, beside the choices, as labels of the voice. Who does not send it is told its words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date

from django.utils import timezone

from apps.accounts.models import Workspace
from apps.api.compat.answers import No
from apps.api.compat.door import line
from apps.voices import statements
from apps.voices.services.consents import Terms

STATEMENT, SPEAKER, WHOSE = "consent", "consent_speaker", "consent_whose"
SPEECH, SINGING, COMMERCIAL, UNTIL = "consent_speech", "consent_singing", "consent_commercial", "consent_until"
_LONGEST_NAME = 120
HOW = (
    f"Nobody's voice is cloned without consent. Send labels with {SPEAKER} (the speaker's full name), {WHOSE} (“own”, "
    f"or “permission” for somebody else's voice with their permission), and {STATEMENT}: the statement that they make."
)


def labels_of(text: str | None) -> dict[str, str]:
    """Return the labels of a request; their SDK sends null, or what is no JSON object, where none were given."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def terms_of(labels: Mapping[str, str], *, voice: str, workspace: Workspace) -> Terms:
    """Return what is consented to. Raises No (422) unless the labels hold the exact statement that they make."""
    speaker, whose = labels.get(SPEAKER, "").strip(), labels.get(WHOSE, "")
    if not speaker or len(speaker) > _LONGEST_NAME or whose not in ("own", "permission"):
        raise _no(HOW)
    terms = Terms(
        full_name=line(speaker, field="body.labels"),
        is_own_voice=whose == "own",
        speech=_chosen(labels, SPEECH, usual=True),
        singing=_chosen(labels, SINGING, usual=True),
        commercial=_chosen(labels, COMMERCIAL, usual=False),
        expires_on=_day(labels.get(UNTIL)),
    )
    if not (terms.speech or terms.singing):
        raise _no(f"Choose at least one use: {SPEECH} or {SINGING} must be “yes”.")
    statement = statements.compose(voice=voice.strip(), workspace=workspace.name, **vars(terms))
    if labels.get(STATEMENT) != statement:
        raise _no(f"If this is true, send it word for word as the label {STATEMENT}: {statement}")
    return terms


def _no(message: str) -> No:
    return No(message, status=422, word="consent_required", field="body.labels")


def _chosen(labels: Mapping[str, str], name: str, *, usual: bool) -> bool:
    word = labels.get(name, "yes" if usual else "no").lower()
    if word not in ("yes", "no"):
        raise _no(f"The label {name} must be “yes” or “no”.")
    return word == "yes"


def _day(text: str | None) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise _no(f"The label {UNTIL} must be a day such as 2030-12-31.") from None
    if day < timezone.localdate():
        raise _no(f"The day of {UNTIL} is over; send a later one or none.")
    return day
