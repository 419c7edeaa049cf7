"""What a file claims to be by its first and last bytes; a file that is no audio gets its own sentence here.

Only containers named in `CONTAINERS` are ever handed to the decoder, so that playlists, images and the many
other formats that FFmpeg knows are never opened.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from ml.errors import AudioError

# Our name of the container -> FFmpeg's name of the one demuxer that may open it.
CONTAINERS: dict[str, str] = {
    "wav": "wav",
    "w64": "w64",
    "aiff": "aiff",
    "flac": "flac",
    "mp3": "mp3",
    "aac": "aac",
    "ogg": "ogg",
    "mp4": "mov",
    "webm": "matroska",
}

_LARGEST_TAG = 16 * 1024 * 1024

_NO_AUDIO: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "This is a PDF document, not audio; choose a sound file."),
    (
        b"PK\x03\x04",
        "This is a ZIP archive or an office document; unpack it and send the audio files inside.",
    ),
    (b"PK\x05\x06", "This is an empty ZIP archive; send the audio files themselves."),
    (b"Rar!", "This is a RAR archive; unpack it and send the audio files inside."),
    (b"7z\xbc\xaf\x27\x1c", "This is a 7z archive; unpack it and send the audio files inside."),
    (b"\x1f\x8b", "This is a gzip archive; unpack it and send the audio files inside."),
    (b"BZh", "This is a bzip2 archive; unpack it and send the audio files inside."),
    (b"\xfd7zXZ", "This is an xz archive; unpack it and send the audio files inside."),
    (b"(\xb5/\xfd", "This is a Zstandard archive; unpack it and send the audio files inside."),
    (b"\x89PNG", "This is a PNG picture, not audio; choose a sound file."),
    (b"\xff\xd8\xff", "This is a JPEG picture, not audio; choose a sound file."),
    (b"GIF8", "This is a GIF picture, not audio; choose a sound file."),
    (b"BM", "This is a bitmap picture, not audio; choose a sound file."),
    (b"\x7fELF", "This is a program, not audio; choose a sound file."),
    (b"MZ", "This is a Windows program, not audio; choose a sound file."),
    (b"SQLite format 3", "This is a database, not audio; choose a sound file."),
    (b"MThd", "This is a MIDI file: notes without sound; export it as audio first."),
    (b"#EXTM3U", "This is a playlist, not audio; send the audio files that it lists."),
    (b"[playlist]", "This is a playlist, not audio; send the audio files that it lists."),
    (b"\x30\x26\xb2\x75", "Windows Media files cannot be read; export the sound as WAV, FLAC or MP3."),
    (b"#!AMR", "AMR phone recordings are too coarse for a voice; record again as WAV, FLAC or M4A."),
    (b"#!", "This is a script, not audio; choose a sound file."),
    (b"caff", "Apple CAF files cannot be read; export the sound as WAV, AIFF or M4A."),
    (b".snd", "Sun AU files cannot be read; export the sound as WAV, FLAC or MP3."),
    (b"FLV\x01", "This is a Flash video; export its sound as WAV, FLAC or MP3."),
    (b"\x00\x00\x01\xba", "This is an MPEG video; export its sound as WAV, FLAC or MP3."),
    (b"\x00\x00\x01\xb3", "This is an MPEG video; export its sound as WAV, FLAC or MP3."),
    (b"wvpk", "WavPack files cannot be read; export the sound as WAV or FLAC."),
    (b"MAC ", "Monkey's Audio files cannot be read; export the sound as WAV or FLAC."),
    (b"\x80\x02", "This is a Python pickle, which is never opened; choose a sound file."),
    (b"\x80\x04", "This is a Python pickle, which is never opened; choose a sound file."),
)

_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<script", b"<svg")


def container_of(file: BinaryIO, size: int) -> str:
    """The container (a key of `CONTAINERS`) of an open file of `size` bytes, by its bytes alone.

    Raises AudioError with its own sentence for whatever else the file is.
    """
    file.seek(0)
    head = file.read(4096)
    start = _skip_tag(file, head, size)
    if start:
        file.seek(start)
        head = file.read(4096)
    found = _audio_container(head)
    if found is None and start:
        raise AudioError("Behind its tag this file holds no sound; export it again as MP3, WAV or FLAC.")
    if found is None:
        raise AudioError(_what_else(head))
    return found


def _audio_container(head: bytes) -> str | None:
    if head[:4] in (b"RIFF", b"RF64", b"RIFX") and head[8:12] == b"AVI ":
        raise AudioError("This is an AVI video; export its sound as WAV, FLAC or MP3.")
    if head[:4] in (b"RIFF", b"RF64", b"RIFX") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[:4] == b"riff" and head[24:28] == b"wave":
        return "w64"
    if head[4:8] == b"ftyp":
        _check_brand(head)
        return "mp4"
    for magic, name in ((b"fLaC", "flac"), (b"OggS", "ogg"), (b"\x1aE\xdf\xa3", "webm")):
        if head.startswith(magic):
            return name
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        # Layer bits 00 with a full sync word are ADTS AAC; the others are MPEG audio layers I to III.
        return "aac" if head[1] & 0xF6 == 0xF0 else "mp3"
    return None


def _check_brand(head: bytes) -> None:
    brand = head[8:12]
    if brand in (b"avif", b"heic", b"heix", b"mif1", b"msf1"):
        raise AudioError("This is a picture (HEIC or AVIF), not audio; choose a sound file.")
    if brand in (b"M4P ", b"aax ", b"aaxc"):
        raise AudioError("This file is copy-protected (DRM) and cannot be used; choose one without protection.")


def _skip_tag(file: BinaryIO, head: bytes, size: int) -> int:
    """Where the sound starts behind an ID3v2 tag; 0 without one. The tag's size is 4 x 7 bits."""
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    length = 10
    for byte in head[6:10]:
        if byte & 0x80:
            raise AudioError("The tag (ID3) of this file is damaged; remove its tags or export it again.")
    length += (head[6] << 21) | (head[7] << 14) | (head[8] << 7) | head[9]
    if length >= size:
        raise AudioError("The tag (ID3) claims more than the whole file; remove its tags or export it again.")
    if length > _LARGEST_TAG:
        raise AudioError(
            f"The tag (ID3) of this file has {length / 2**20:.0f} MB; remove its pictures and export it again."
        )
    return length


def _what_else(head: bytes) -> str:
    for magic, sentence in _NO_AUDIO:
        if head.startswith(magic):
            return sentence
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(_MARKUP):
        return "This is a web page, not audio; perhaps the download failed: fetch the sound file itself."
    if text[:1] in (b"{", b"["):
        return "This is JSON text, not audio; choose a sound file."
    if not head.strip(b"\x00"):
        return "This file holds only zero bytes; it was not copied completely: copy it again."
    if len(head) < 12:
        return "This file is too short to hold any sound; record or export it again."
    if b"\x00" not in head and sum(byte >= 0x80 for byte in head) < len(head) // 10:
        return "This is a text file, not audio; choose a sound file."
    return "This is no audio file that can be read; send WAV, FLAC, MP3, M4A, OGG, AIFF or WebM."


def check_complete(file: BinaryIO, size: int, container: str) -> None:
    """Raises AudioError when a container's own lengths say that the end of the file is missing."""
    if container == "wav":
        _check_wav(file, size)
    elif container == "aiff":
        file.seek(4)
        if struct.unpack(">I", file.read(4))[0] + 8 > size + 1:
            raise AudioError(_CUT.format("AIFF"))
    elif container == "ogg":
        _check_ogg(file, size)
    elif container == "mp4":
        _check_mp4(file, size)


_CUT = "The end of this {} file is missing: the upload or export broke off; send it again."


def _check_wav(file: BinaryIO, size: int) -> None:
    file.seek(0)
    order = ">" if file.read(4) == b"RIFX" else "<"
    position = 12
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        if name == b"data":
            # Programs that write to a pipe leave 0 or all ones: the data then runs to the end of the file.
            if length < 0xFFFFFF00 and length and position + 8 + length > size + 1:
                raise AudioError(_CUT.format("WAV"))
            if length == 0 and size - position - 8 < 2:
                raise AudioError("This WAV file holds 0 samples; record or export it again.")
            return
        position += 8 + length + (length & 1)
    raise AudioError("This WAV file has no sound data; record or export it again.")


def _check_ogg(file: BinaryIO, size: int) -> None:
    """The last Ogg page (RFC 3533) must lie whole within the file."""
    tail = min(size, 2 * 65536)
    file.seek(size - tail)
    data = file.read(tail)
    position = data.rfind(b"OggS")
    if position < 0 or position + 27 > len(data):
        raise AudioError(_CUT.format("Ogg"))
    segments = data[position + 26]
    body = position + 27 + segments
    if body > len(data) or body + sum(data[position + 27 : body]) > len(data):
        raise AudioError(_CUT.format("Ogg"))


def _check_mp4(file: BinaryIO, size: int) -> None:
    """The boxes at the top level (ISO 14496-12) must end with the file, and one must be the index."""
    position, names = 0, set()
    while position + 8 <= size:
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        if length == 1:
            length = struct.unpack(">Q", file.read(8).rjust(8, b"\0"))[0]
        names.add(name)
        if length == 0:  # "to the end of the file"
            length = size - position
        if length < 8:
            raise AudioError("This M4A file is damaged; export it again or send another copy.")
        position += length
    if b"moov" not in names:
        raise AudioError("The index of this M4A file is missing: the upload or export broke off; send it again.")
    if position > size:
        raise AudioError(_CUT.format("M4A"))
