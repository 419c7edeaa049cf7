"""The newest checkpoint of a training is damaged on the disk and its worker killed: it goes on from the one before."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.trainings import (
    SAVE_SECONDS,
    TRAIN,
    family,
    held_out,
    look,
    made_voice,
    saved_step,
    states,
    trained,
    training_site,
    until_ended,
)
from tests.stack import Stack

STEPS = 8_000
CARD = """
from django.test import Client
from apps.accounts.models import User
from apps.voices.models import VoiceModel
model = VoiceModel.objects.select_related("job", "voice__workspace").get(pk=pk)
client = Client(SERVER_NAME="localhost")
client.force_login(User.objects.get(email="admin@localhost"))
slug = model.voice.workspace.slug
result = {
    "card": client.get(f"/w/{slug}/jobs/{model.job.code}/card/").content.decode(),
    "page": client.get(f"/w/{slug}/voices/{model.voice.code}/models/{model.code}/").content.decode(),
}
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Stack]:
    with training_site() as stack:
        yield stack


@pytest.fixture(scope="module")
def voice(site: Stack) -> int:
    return made_voice(site)


def flip(path: Path) -> None:
    """Flip one bit in the middle of the tensors."""
    content = bytearray(path.read_bytes())
    content[-20] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.fixture(scope="module")
def undisturbed(site: Stack, voice: int) -> dict[str, Any]:
    return trained(site, voice, STEPS)


def damaged_and_killed(site: Stack, pk: int, hurt: Callable[[str], None]) -> dict[str, Any]:
    """Stop the training where it is, let ``hurt`` damage its work folder, kill the worker; return what was seen."""
    site.wait_until(lambda: saved_step(site, look(site, pk)["code"]) > 0, seconds=120)
    seen = look(site, pk)
    # The first state is that of step 0.
    site.wait_until(lambda: "state-000001" not in states(site, seen["code"])[0].name, seconds=30)
    worker, horse = family(site)
    assert horse is not None
    os.kill(horse, signal.SIGSTOP)
    hurt(seen["code"])
    os.kill(worker, signal.SIGKILL)
    site.wait_until(lambda: "damaged" in look(site, pk)["message"], seconds=120)
    return seen


@pytest.mark.parametrize("hurt", [flip, cut, Path.unlink])
def test_a_damaged_newest_checkpoint_costs_one_save_interval_and_is_told(
    site: Stack,
    voice: int,
    undisturbed: dict[str, Any],
    hurt: Callable[[Path], None],
) -> None:
    pk = site.django(TRAIN, voice=voice, steps=STEPS, save_seconds=SAVE_SECONDS)
    before: list[int] = []

    def newest(code: str) -> None:
        hurt(states(site, code)[-1])
        # What is left last is the one before, whole.
        before.append(saved_step(site, code) if hurt is Path.unlink else -1)

    damaged_and_killed(site, pk, newest)
    told = look(site, pk)
    assert told["message"].startswith("The newest checkpoint was damaged; going on from step ")
    step = int(told["message"].rstrip(".").rsplit(" ", 1)[1])
    assert step > 0
    assert before in ([-1], [step])
    shown = site.django(CARD, pk=pk)
    assert told["message"] in shown["card"] and told["message"] in shown["page"]
    ended = until_ended(site, pk, seconds=300)
    assert ended["status"] == "done", ended
    assert ended["notes"] == [told["message"]]
    assert held_out(ended) == held_out(undisturbed) and ended["metrics"] == undisturbed["metrics"]
    assert "is damaged" in site.log.read_text() or "is missing" in site.log.read_text()


def test_with_every_checkpoint_damaged_the_training_begins_anew_and_says_so(
    site: Stack,
    voice: int,
    undisturbed: dict[str, Any],
) -> None:
    pk = site.django(TRAIN, voice=voice, steps=STEPS, save_seconds=SAVE_SECONDS)
    damaged_and_killed(site, pk, lambda code: [flip(path) for path in states(site, code)] and None)
    assert look(site, pk)["message"] == "The checkpoints were damaged; the training begins anew."
    ended = until_ended(site, pk, seconds=300)
    assert ended["status"] == "done", ended
    assert held_out(ended) == held_out(undisturbed)
