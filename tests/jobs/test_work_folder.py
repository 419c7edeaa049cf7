"""The work folder on its way to another machine: a damaged copy is noticed, said, and used as far as it is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.jobs import services
from apps.jobs.models import Job
from apps.jobs.run import Run
from ml.errors import Cancelled
from tests.jobs import bodies

Make = Callable[..., Job]
FILES = {"state-000001": b"one" * 500, "state-000002": b"two" * 500, "best": b"best" * 300}


@pytest.fixture
def moved(queued: Make) -> Callable[[], Run]:
    """Return a function: the next attempt at a job whose first one kept three files, on a machine with none of them."""
    job = queued(bodies.succeed)
    first = Run(claimed(job))
    first.open()
    for name, content in FILES.items():
        (first.workdir / name).write_bytes(content)
    first._mirror()
    first.close()
    job.refresh_from_db()

    def next_attempt() -> Run:
        services.remove_folder(job.code)
        Job.objects.filter(pk=job.pk).update(status="queued", worker="", message="")
        return Run(claimed(job))

    return next_attempt


def claimed(job: Job) -> Job:
    found = services.claim(job.pk, worker="w")
    assert found is not None
    return found


def kept(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.workdir.iterdir()}


def stored(run: Run) -> Path:
    return Path(default_storage.path(run.job.checkpoint.name))


def message(run: Run) -> str:
    return str(Job.objects.get(pk=run.job.pk).message)


@pytest.mark.django_db
def test_another_machine_finds_all_files(moved: Any) -> None:
    run = moved()
    run.open()
    assert kept(run) == FILES and message(run) == ""


@pytest.mark.django_db
def test_a_damaged_file_is_left_out_and_the_others_are_used(moved: Any) -> None:
    run = moved()
    path = stored(run)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"twotwo", b"twOtwo", 1))
    run.open()
    assert kept(run) == {name: data for name, data in FILES.items() if name != "state-000002"}
    assert "it goes on from what was whole" in message(run)


@pytest.mark.django_db
@pytest.mark.parametrize("left", [0, 100, -30])
def test_a_cut_copy_begins_anew_and_says_so(moved: Any, left: int) -> None:
    run = moved()
    stored(run).write_bytes(stored(run).read_bytes()[:left])
    run.open()
    assert kept(run) == {} and message(run) == "The kept copy of its work was damaged, so it begins anew."


@pytest.mark.django_db
def test_a_copy_that_is_gone_begins_anew_too(moved: Any) -> None:
    run = moved()
    stored(run).unlink()
    run.open()
    assert kept(run) == {} and message(run) == "The kept copy of its work is gone, so it begins anew."


@pytest.mark.django_db
def test_whichever_bit_flips_nothing_wrong_is_taken_for_right(moved: Any) -> None:
    run = moved()
    whole = stored(run).read_bytes()
    starts = [at for at in range(len(whole)) if whole[at : at + 2] == b"PK"]  # headers, where names and flags are

    @given(start=st.sampled_from(starts), place=st.integers(0, 45), bit=st.integers(0, 7))
    @settings(max_examples=400, deadline=None)
    def flip(start: int, place: int, bit: int) -> None:
        content = bytearray(whole)
        content[min(start + place, len(whole) - 1)] ^= 1 << bit
        stored(run).write_bytes(content)
        Job.objects.filter(pk=run.job.pk).update(message="")
        run._restore()
        found = {path.name: path.read_bytes() for path in run.workdir.rglob("*") if path.is_file()}
        # A name has no check sum of its own, so that a file may have another name; its bytes are right even then.
        assert all(data in FILES.values() for data in found.values())
        assert "damaged" in message(run)

    flip()


@pytest.mark.django_db
def test_a_sentence_is_shown_while_the_job_runs_and_only_by_its_own_attempt(moved: Any) -> None:
    run = moved()
    run.say("The disk is slow today.")
    assert message(run) == "The disk is slow today."
    Job.objects.filter(pk=run.job.pk).update(attempt=9)
    with pytest.raises(Cancelled):
        run.say("Somebody else's.")


@pytest.mark.django_db
def test_what_a_body_expects_counts_until_it_is_over(moved: Any) -> None:
    run = moved()
    run.open()
    run.expect(120.0)
    run.report(0.5, "Working")
    row = Job.objects.get(pk=run.job.pk)
    left = row.seconds_left()
    assert left is not None and 110 < left <= 120
    run._reported_at = 0.0
    run.expect(-5.0)
    run.report(0.6, "Working")
    assert Job.objects.get(pk=run.job.pk).seconds_left() is None
