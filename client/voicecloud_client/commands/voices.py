"""``voicecloud voices``: list, create, upload, consent, delete."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from uuid import UUID

from voicecloud_client.commands.context import Context, Subparsers, some_file, voice_of, wait_for
from voicecloud_client.errors import VoicecloudError
from voicecloud_client.models import Recording
from voicecloud_client.nouns.voices import PART_BYTES
from voicecloud_client.options import Terms
from voicecloud_client.terminal import Bar


def add(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    voices = subparsers.add_parser("voices", help="list, create, upload, consent, delete").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    listed = voices.add_parser("list", parents=[common], help="all voices")
    listed.set_defaults(run=list_voices)
    create = voices.add_parser("create", parents=[common], help="make a voice")
    create.add_argument("name", metavar="NAME")
    create.add_argument("--description", default="")
    create.set_defaults(run=create_voice)
    upload = voices.add_parser("upload", parents=[common], help="add recordings to a voice")
    upload.add_argument("voice", metavar="VOICE", help="name or id")
    upload.add_argument("files", metavar="FILE", nargs="+", type=some_file)
    upload.add_argument("--no-wait", action="store_true", help="do not wait until they have been listened to")
    upload.set_defaults(run=upload_recordings)
    _add_consent(voices, common)
    delete = voices.add_parser("delete", parents=[common], help="delete a voice with everything made from it")
    delete.add_argument("voice", metavar="VOICE", help="name or id")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    delete.set_defaults(run=delete_voice)


def _add_consent(voices: Subparsers, common: argparse.ArgumentParser) -> None:
    text = "Shows the statement that these terms make. Nothing is given before it was agreed to."
    consent = voices.add_parser("consent", parents=[common], help="give consent to a voice", description=text)
    consent.add_argument("voice", metavar="VOICE", help="name or id")
    consent.add_argument("--name", required=True, metavar="NAME", help="the speaker's full name")
    consent.add_argument("--whose", choices=("own", "permission"), default="own", help="your own voice, or permitted")
    consent.add_argument("--no-speech", action="store_true")
    consent.add_argument("--no-singing", action="store_true")
    consent.add_argument("--commercial", action="store_true")
    consent.add_argument("--until", type=_day, metavar="DATE", help="the last day, as in 2030-12-31")
    consent.add_argument("--spoken", type=some_file, metavar="FILE", help="a recording of the statement, read aloud")
    consent.add_argument("--agree", action="store_true", help="you have read the statement before and agree to it")
    consent.set_defaults(run=give_consent)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no day; write it as in 2030-12-31") from None


def list_voices(context: Context) -> int:
    """Show all voices."""
    voices = list(context.client.voices.list())
    rows = [
        (
            each.name,
            each.id,
            "yes" if each.has_consent else "no",
            "locked" if each.locked else "yes" if each.active_model else "no",
            f"{each.usable_seconds:.0f} s",
        )
        for each in voices
    ]
    context.screen.table(voices, ("name", "id", "consent", "model", "usable"), rows, "There is no voice yet.")
    return 0


def create_voice(context: Context) -> int:
    """Make a voice."""
    voice = context.client.voices.create(context.given.name, description=context.given.description)
    context.screen.show(voice, f"{voice.name} is made: {voice.id}")
    return 0


def upload_recordings(context: Context) -> int:
    """Add recordings; one that is refused stops no other."""
    voice = voice_of(context.client, context.given.voice)
    failed = 0
    for path in context.given.files:
        try:
            with Bar(path.name) as bar:
                recording = _sent(context, voice.id, path, bar)
            if recording.job is not None and not context.given.no_wait:
                wait_for(context, recording.job, path.name)
            line = f"{path}: {recording.duration:.1f} s are added to {voice.name}."
            context.screen.show({"file": str(path), "recording": recording}, line)
        except (VoicecloudError, OSError) as error:
            failed += 1
            context.screen.tell(f"{path}: {error}")
            if context.screen.as_json:
                context.screen.show({"file": str(path), "error": str(error)})
    return 1 if failed else 0


def _sent(context: Context, voice: UUID, path: Path, bar: Bar) -> Recording:
    """Send a short file in one request, a long one in parts."""
    recordings, progress = context.client.recordings, bar.bytes("sending")
    if path.stat().st_size <= PART_BYTES:
        return recordings.add(voice, path, progress=progress)
    return recordings.add_in_parts(voice, path, progress=progress)


def give_consent(context: Context) -> int:
    """Give consent, in the words that the site makes of the terms."""
    given, consents = context.given, context.client.consents
    voice = voice_of(context.client, given.voice)
    terms = Terms(
        full_name=given.name,
        whose=given.whose,
        speech=not given.no_speech,
        singing=not given.no_singing,
        commercial=given.commercial,
        expires_on=given.until,
    )
    statement = consents.statement(voice.id, terms).statement
    for line in statement.splitlines():
        context.screen.tell(line)
    if not (given.agree or context.screen.ask("Do you agree?")):
        context.screen.tell("No consent was given. Agree when asked, or with --agree.")
        return 1
    consent = consents.give(voice.id, terms, statement=statement, agreed=True, spoken=given.spoken)
    context.screen.show(consent, f"Consent to {voice.name} is given.")
    return 0


def delete_voice(context: Context) -> int:
    """Delete a voice."""
    voice = voice_of(context.client, context.given.voice)
    if not (context.given.yes or context.screen.ask(f"Delete {voice.name} with everything made from it?")):
        context.screen.tell("Nothing was deleted. Say yes when asked, or with --yes.")
        return 1
    context.client.voices.delete(voice.id)
    context.screen.show({"deleted": voice}, f"{voice.name} is deleted.")
    return 0
