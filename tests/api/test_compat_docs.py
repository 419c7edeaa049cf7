"""docs/api.md lists exactly the calls and addresses that there are, and each call is made in the SDK tests."""

from __future__ import annotations

import re

from apps.api.compat.formats import OUTPUTS
from apps.api.compat.urls import urlpatterns
from tests.api.test_compat_tenancy import SCOPES, TABLE
from tests.stack import ROOT

TEXT = (ROOT / "docs" / "api.md").read_text()
ROWS = re.findall(r"^\| `((?:openai_)?client\.[a-z_.]+)` \| (.+?) \| (read|create|admin) \|", TEXT, re.MULTILINE)


def addresses() -> dict[str, str]:
    """Return "METHOD /path" -> scope of every address but the two that catch all others."""
    scopes = {role: scope for scope, role in SCOPES.items()}
    found = {}
    for pattern in urlpatterns:
        if not str(pattern.name).startswith("unknown"):
            path = re.sub(r"<[a-z:]+>", "{id}", str(pattern.pattern))
            for method, role in TABLE[str(pattern.name)].items():
                found[f"{method} /{path}"] = scopes[role]
    return found


def test_every_address_stands_in_the_table_with_its_scope() -> None:
    told = {address: scope for _, cell, scope in ROWS for address in re.findall(r"`([A-Z]+ /[^`]+)`", cell)}
    streams = {f"{address}/stream": scope for address, scope in told.items() if "voice-changer" in address}
    streams |= {f"{address}/stream": scope for address, scope in told.items() if "speech-to-speech" in address}
    assert told | streams == addresses()


def test_every_call_of_the_table_is_made_in_a_test() -> None:
    assert len(ROWS) == len({call for call, _, _ in ROWS}) > 25
    folder = ROOT / "tests" / "api" / "sdk"
    elevenlabs = "".join(path.read_text() for path in folder.glob("test_elevenlabs_*.py"))
    elevenlabs += (folder / "calls.py").read_text()
    openai = (folder / "test_openai.py").read_text()
    for call, _, _ in ROWS:
        name = call.partition(".")[2]
        if name.startswith("text_to_speech."):
            assert f'"{name.partition(".")[2]}"' in elevenlabs
        else:
            assert f"{name}(" in (openai if call.startswith("openai_") else elevenlabs), call


def test_every_format_stands_in_the_docs() -> None:
    for name in OUTPUTS:
        kind, *numbers = name.split("_")
        assert f"`{kind}_" in TEXT and all(number in TEXT for number in numbers), name
