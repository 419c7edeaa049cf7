"""``kill -9`` at random moments of a training: it ends done all the same, as one that was never killed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Iterator
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

FEW_STEPS = 3000
SECONDS_A_KILL = 3.0
LONGEST_WAIT = 3.0


@pytest.fixture(scope="module")
def site() -> Iterator[Stack]:
    with training_site() as stack:
        yield stack


@pytest.fixture(scope="module")
def voice(site: Stack) -> int:
    return made_voice(site)


def kill(site: Stack, seen: dict[str, Any], pk: int, *, worker_too: bool) -> tuple[int, float]:
    """Kill the attempt's worker, or its work-horse alone; return the saved step and the checkpoint's age just then."""
    step = saved_step(site, seen["code"])
    age = time.time() - states(site, seen["code"])[-1].stat().st_mtime if step >= 0 else 0.0
    worker, horse = family(site)
    os.kill(worker if worker_too or horse is None else horse, signal.SIGKILL)
    site.wait_until(
        lambda: look(site, pk)["attempt"] > seen["attempt"] or look(site, pk)["status"] == "done", seconds=300
    )
    return step, age


def steps_for(seconds: float, site: Stack, voice: int) -> int:
    """Return how many steps keep this machine busy for so long: the kills must find it at work."""
    spent = trained(site, voice, FEW_STEPS)["resources"]["stages"]["training"]
    return round(seconds * FEW_STEPS / max(spent, 0.1))


def has_progressed(seen: dict[str, Any]) -> bool:
    """Say whether the present attempt has kept a checkpoint, or the training is over."""
    return seen["checkpoint_attempt"] == seen["attempt"] or seen["status"] not in ("queued", "running")


def config_sum(seen: dict[str, Any]) -> str:
    """Return the check sum of all that says what was trained: options, engine's base, the voice's traits."""
    told = {"options": seen["options"], "card": seen["card"], "steps": seen["steps"]}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_training_that_is_killed_ends_as_if_nothing_had_been(site: Stack, voice: int, kills: int) -> None:
    seed = int(os.environ.get("FAULT_SEED") or time.time())
    print(f"FAULT_SEED={seed}")
    chance = random.Random(seed)
    steps = steps_for(kills * SECONDS_A_KILL, site, voice)
    undisturbed = trained(site, voice, steps)

    pk = site.django(TRAIN, voice=voice, steps=steps, save_seconds=SAVE_SECONDS)
    oldest, has_saved = 0.0, False
    for number in range(kills):
        site.wait_until(lambda: look(site, pk)["status"] != "queued", seconds=300)
        # From before the first step to well after a checkpoint. Every third comes after one for sure: a job that dies
        # twelve times without any progress is given up, and rightly so.
        if number % 3 == 2:
            site.wait_until(lambda: has_progressed(look(site, pk)), seconds=120)
            time.sleep(chance.uniform(0.0, LONGEST_WAIT / 2))
        else:
            time.sleep(chance.uniform(0.2, LONGEST_WAIT))
        seen = look(site, pk)
        assert seen["status"] in ("running", "queued"), f"ended after {number} kills: {seen}"
        step, age = kill(site, seen, pk, worker_too=chance.random() < 0.5)
        has_saved = has_saved or step > 0
        if step > 0 and seen["stage"].startswith("Training"):
            oldest = max(oldest, age)
        assert saved_step(site, seen["code"]) >= step, "a checkpoint went backwards"
    assert oldest < SAVE_SECONDS + 3.0, "more than one save interval was lost"
    ended = until_ended(site, pk, seconds=600)
    print(f"{steps} steps, {ended['attempt']} attempts, oldest checkpoint at a kill {oldest:.2f} s")

    assert ended["status"] == "done", ended
    # On a crowded machine an attempt more may be given up for lost, as this stack waits for four seconds only.
    assert ended["attempt"] >= kills + 1
    assert ended["steps"] == steps
    assert config_sum(ended) == config_sum(undisturbed)
    assert ended["metrics"] == pytest.approx(undisturbed["metrics"], rel=1e-6)
    # The mean training loss of a stretch starts anew with an attempt; what was learnt does not.
    assert held_out(ended) == held_out(undisturbed)
    assert ended["samples"] == undisturbed["samples"]
    assert ended["models"] == ended["stored"]
    assert ended["file"] and ended["notes"] == []
    record = ended["resources"]
    # Of an attempt that was killed before its first checkpoint nothing is known.
    assert 1 + has_saved <= len(record["attempts"]) <= ended["attempt"] and len(record["machines"]) == 1
    assert record["seconds"] == pytest.approx(sum(one["seconds"] for one in record["attempts"]), abs=0.1)
    assert record["figures"]["memory_bytes"]["peak"] > 5e7
    site.wait_until(lambda: not (site.data / "jobs" / ended["code"]).exists(), seconds=10)
