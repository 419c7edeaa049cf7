"""Bodies of jobs that behave in every way a body can."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import botocore.exceptions
import numpy
import torch

from apps.errors import Refused
from apps.jobs.models import Artifact
from apps.jobs.run import Run
from apps.jobs.worker import task
from ml.errors import AudioError, WeightsError


@task
def succeed(run: Run) -> None:
    run.report(0.5, "Halfway")


@task
def refuse(run: Run) -> None:
    raise Refused("The voice has no model yet; train one first.")


@task
def meet_bad_audio(run: Run) -> None:
    raise AudioError("This file holds no sound; upload another one.")


@task
def meet_old_weights(run: Run) -> None:
    raise WeightsError("This voice was trained with another version; train it again.")


@task
def break_down(run: Run) -> None:
    raise ZeroDivisionError("a secret of ours")


@task
def keep_a_file(run: Run) -> None:
    path = run.folder / "result"
    path.write_bytes(b"sound")
    artifact = run.keep(path, kind=Artifact.Kind.AUDIO, name="result.wav", content_type="audio/wav", data={"rate": 1})
    path.write_bytes(b"better sound")
    run.keep(path, kind=Artifact.Kind.AUDIO, name=artifact.name, content_type="audio/wav")


@task
def work_for_a_minute(run: Run) -> None:
    """Stops when asked."""
    for step in range(600):
        run.report(step / 600, "Working")
        time.sleep(0.1)


@task
def work_for_a_while(run: Run) -> None:
    """Takes some seconds, begins anew in each attempt, and stops when asked."""
    for step in range(60):
        run.report(step / 60, "Working")
        time.sleep(0.1)


@task
def hear_nothing(run: Run) -> None:
    """Never asks whether it shall stop."""
    run.report(0.1, "Deaf")
    (run.folder / "half-made").write_bytes(b"0" * 1000)
    time.sleep(60)


@task
def sleep_through_alarms(run: Run) -> None:
    """Never comes back to where a time limit could reach it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    time.sleep(60)


@task
def die(run: Run) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task
def die_once(run: Run) -> None:
    """Leaves a mark in the work folder at the first attempt, and must find it at the second."""
    mark = run.workdir / "mark"
    if run.attempt == 1:
        mark.write_text("here")
        run.keep_checkpoint()
        os.kill(os.getpid(), signal.SIGKILL)
    assert mark.read_text() == "here"


@task
def draw(run: Run) -> None:
    """Keeps three random numbers, and which process drew them."""
    path = run.folder / "numbers"
    path.write_text(f"{random.random()} {numpy.random.rand()} {torch.rand(1).item()} {os.getpid()}")
    run.keep(path, kind=Artifact.Kind.REPORT, name="numbers.txt", content_type="text/plain")


@task
def write_when_told(run: Run) -> None:
    """Waits for the file ``go`` in the work folder, then keeps a result."""
    while not Path(run.workdir / "go").exists():
        time.sleep(0.01)
    with run.result():
        pass


@task
def lose_the_storage(run: Run) -> None:
    raise botocore.exceptions.EndpointConnectionError(endpoint_url="https://s3.example.com")
