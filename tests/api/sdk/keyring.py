"""Workspaces of a running site with keys of every scope, for the SDKs of other services."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import soundfile

from tests.sounds import Samples, speech
from tests.stack import ROOT, Stack

DEVELOPMENT = ROOT.parent / "shared" / "speech" / "dev"
_MAKE = """
from apps.accounts import keys
from apps.accounts.models import Membership, Role, User, Workspace
from apps.billing.models import Subscription
user = User.objects.create_user(f"{slug}@example.org", "correct-horse-battery", name=slug.title())
workspace = Workspace.objects.create(name=slug.title(), slug=slug)
membership = Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
Subscription.objects.create(workspace=workspace, plan=plan)
result = {scope: keys.issue(membership=membership, name=scope, scope=scope)[1] for scope in ("read", "create", "admin")}
"""


@dataclass(frozen=True)
class Keys:
    """A workspace's keys as programs send them."""

    slug: str
    read: str
    create: str
    admin: str


def new_workspace(stack: Stack, slug: str, *, plan: str = "unlimited") -> Keys:
    """Make a workspace with one owner and return their keys."""
    return Keys(slug, **stack.django(_MAKE, slug=slug, plan=plan))


def recorded(speaker: str, seconds: float) -> tuple[Samples, int] | None:
    """Return (samples, rate) of one recording of a real speaker, at most so long; None where there are none."""
    manifest = DEVELOPMENT / "manifest.csv"
    if not manifest.exists():
        return None
    for row in csv.DictReader(manifest.open()):
        if row["speaker_id"] == speaker and float(row["duration_s"]) > min(seconds, 4.0):
            samples, rate = soundfile.read(DEVELOPMENT / row["path"], dtype="float32")
            return samples[: int(seconds * rate)], rate
    return None


def generated(path: Path, seconds: float, *, seed: int, rate: int = 24_000) -> Path:
    """Write generated speech to ``path``."""
    soundfile.write(path, speech(seconds, rate=rate, seed=seed), rate)
    return path
