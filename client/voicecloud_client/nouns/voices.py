"""Voices, their recordings, takes and consents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from voicecloud_client.decoding import given
from voicecloud_client.downloads import download
from voicecloud_client.errors import Conflict, VoicecloudError
from voicecloud_client.models import Consent, Preflight, Recording, Statement, Take, Upload, Voice
from voicecloud_client.nouns.noun import Code, Noun, at
from voicecloud_client.options import Terms
from voicecloud_client.transport import Progress

PART_BYTES = 8 * 1024 * 1024


class Voices(Noun):
    """People's voices."""

    def list(self) -> Iterator[Voice]:
        """Yield the workspace's voices, newest first."""
        return self._wire.items(Voice, at("voices"))

    def create(self, name: str, *, description: str = "") -> Voice:
        """Make a voice."""
        return self._wire.json(Voice, "POST", at("voices"), body=given(name=name, description=description))

    def get(self, voice: Code) -> Voice:
        """Return one voice."""
        return self._wire.json(Voice, "GET", at("voices", voice))

    def change(self, voice: Code, *, name: str | None = None, description: str | None = None) -> Voice:
        """Rename or describe a voice."""
        return self._wire.json(Voice, "PATCH", at("voices", voice), body=given(name=name, description=description))

    def delete(self, voice: Code) -> None:
        """Delete a voice with everything made from it."""
        self._wire.send("DELETE", at("voices", voice))

    def choose(self, voice: Code) -> Voice:
        """Keep a voice usable instead of another, where a smaller plan does not hold all of them."""
        return self._wire.json(Voice, "POST", at("voices", voice, "choose"))

    def preflight(self, voice: Code) -> Preflight:
        """Return what a voice's takes promise before a training."""
        return self._wire.json(Preflight, "GET", at("voices", voice, "preflight"))


class Recordings(Noun):
    """Files of voices, kept as received."""

    def list(self, voice: Code) -> Iterator[Recording]:
        """Yield a voice's recordings."""
        return self._wire.items(Recording, at("voices", voice, "recordings"))

    def add(self, voice: Code, file: Path, *, script: str = "", progress: Progress | None = None) -> Recording:
        """Send a file in one request, from the disk; ``script`` is what was read aloud, if that is known."""
        path = at("voices", voice, "recordings")
        return self._wire.json(
            Recording, "POST", path, form=given(script=script), files={"file": file}, progress=progress
        )

    def add_in_parts(self, voice: Code, file: Path, *, progress: Progress | None = None) -> Recording:
        """Send a file in parts: a lost connection costs one part. What was sent is given up when it cannot go on."""
        size = file.stat().st_size
        uploads = Uploads(self._wire)
        upload = uploads.begin(voice, name=file.name, size=size)
        try:
            self._send_parts(uploads, upload, file, size, progress)
            return uploads.finish(upload.id)
        except BaseException:
            with suppress(VoicecloudError):  # why it cannot go on is what to tell
                uploads.abandon(upload.id)
            raise

    def _send_parts(self, uploads: Uploads, upload: Upload, file: Path, size: int, progress: Progress | None) -> None:
        with file.open("rb") as handle:
            while upload.offset < size:
                handle.seek(offset := upload.offset)
                try:
                    upload = uploads.put(upload.id, offset, handle.read(PART_BYTES))
                except Conflict:
                    # A part whose answer was lost is there already.
                    upload = uploads.get(upload.id)
                    if upload.offset == offset:
                        raise
                if progress is not None:
                    progress(upload.offset, size)

    def get(self, recording: Code) -> Recording:
        """Return one recording."""
        return self._wire.json(Recording, "GET", at("recordings", recording))

    def delete(self, recording: Code) -> None:
        """Delete a recording with its takes."""
        self._wire.send("DELETE", at("recordings", recording))

    def download(self, recording: Code, target: Path, *, sha256: str = "", progress: Progress | None = None) -> Path:
        """Save a recording as it was received."""
        return download(self._wire, at("recordings", recording, "audio"), target, sha256=sha256, progress=progress)


class Uploads(Noun):
    """Recordings that are sent in parts; ``recordings.add_in_parts`` does all of it."""

    def begin(self, voice: Code, *, name: str, size: int) -> Upload:
        """Announce a file of so many bytes."""
        return self._wire.json(Upload, "POST", at("voices", voice, "uploads"), body=given(name=name, size=size))

    def get(self, upload: Code) -> Upload:
        """Return how far an upload has come."""
        return self._wire.json(Upload, "GET", at("uploads", upload))

    def put(self, upload: Code, offset: int, content: bytes) -> Upload:
        """Send the bytes that begin at an offset."""
        return self._wire.json(Upload, "PUT", at("uploads", upload, "parts", offset), content=content)

    def finish(self, upload: Code) -> Recording:
        """Make a recording of an upload whose bytes are all there."""
        return self._wire.json(Recording, "POST", at("uploads", upload, "finish"))

    def abandon(self, upload: Code) -> None:
        """Forget an upload."""
        self._wire.send("DELETE", at("uploads", upload))


class Takes(Noun):
    """Clean slices of recordings."""

    def list(self, voice: Code) -> Iterator[Take]:
        """Yield the takes of a voice, in their order."""
        return self._wire.items(Take, at("voices", voice, "takes"))

    def get(self, take: Code) -> Take:
        """Return one take."""
        return self._wire.json(Take, "GET", at("takes", take))

    def change(self, take: Code, *, dropped: bool) -> Take:
        """Drop a take from trainings, or take it back in."""
        return self._wire.json(Take, "PATCH", at("takes", take), body=given(dropped=dropped))

    def download(self, take: Code, target: Path, *, progress: Progress | None = None) -> Path:
        """Save a take as it is trained on."""
        return download(self._wire, at("takes", take, "audio"), target, progress=progress)


class Consents(Noun):
    """Who allowed a voice to be cloned, in what words."""

    def list(self, voice: Code) -> Iterator[Consent]:
        """Yield a voice's consents, past ones too."""
        return self._wire.items(Consent, at("voices", voice, "consents"))

    def statement(self, voice: Code, terms: Terms) -> Statement:
        """Return the words of a consent with these terms, to be read by who agrees."""
        return self._wire.json(Statement, "POST", at("voices", voice, "consents", "statement"), body=given(terms))

    def give(self, voice: Code, terms: Terms, *, statement: str, agreed: bool, spoken: Path | None = None) -> Consent:
        """Give consent, in exactly the words that ``statement`` returned; ``spoken`` is a recording of them."""
        return self._wire.json(
            Consent,
            "POST",
            at("voices", voice, "consents"),
            form=given(terms, statement=statement, agreed=agreed),
            files={"spoken": spoken} if spoken is not None else {},
        )

    def get(self, consent: Code) -> Consent:
        """Return one consent."""
        return self._wire.json(Consent, "GET", at("consents", consent))

    def withdraw(self, consent: Code) -> Consent:
        """Withdraw a consent: nothing new is made under it."""
        return self._wire.json(Consent, "POST", at("consents", consent, "withdraw"))

    def download(self, consent: Code, target: Path, *, progress: Progress | None = None) -> Path:
        """Save the statement as it was spoken."""
        return download(self._wire, at("consents", consent, "audio"), target, progress=progress)
