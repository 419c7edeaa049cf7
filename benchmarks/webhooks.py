"""Measures the courier of webhooks on this machine: how soon, how many, and beside receivers that never answer.

    python benchmarks/webhooks.py [--messages 1000]

Starts the whole site on an empty temporary folder; the receivers are here. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.stack import Stack, running, short_folder  # noqa: E402
from tests.webhooks.receivers import Receiver, listening  # noqa: E402

WORKSPACES = 25
ADD = """
from apps.accounts.models import Workspace
from apps.accounts.sealing import seal
from apps.webhooks.models import PURPOSE, Endpoint
from apps.webhooks.signing import new_secret
for number in range(count):
    workspace = Workspace.objects.create(name=name, slug=f"{name}-{number}")
    Endpoint.objects.create(workspace=workspace, url=url, sealed_secret=seal(new_secret(), purpose=PURPOSE))
"""
ANNOUNCE = """
from django.db import transaction
from apps.accounts.models import Workspace
from apps.webhooks.services import announce
with transaction.atomic():
    for workspace in Workspace.objects.filter(name=name):
        for _ in range(each):
            announce(workspace_pk=workspace.pk, event="job.done", data=dict)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1000)
    each = max(1, parser.parse_args().messages // WORKSPACES)
    folder = short_folder()
    try:
        with running(folder, WEBHOOK_ALLOW_PRIVATE="true") as site, listening() as quick, listening() as stuck:
            stuck.behave = lambda handler: time.sleep(30)
            site.django(ADD, name="quick", count=WORKSPACES, url=quick.url)
            site.django(ADD, name="one", count=1, url=quick.url)
            site.django(ADD, name="stuck", count=3, url=stuck.url)
            print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
            print("| what | figure |\n|---|---|")
            print(f"| from commit to receiver, idle courier, median of 20 | {1000 * soon(site, quick):.0f} ms |")
            print(
                f"| {each * WORKSPACES} messages of {WORKSPACES} workspaces | {rate(site, quick, each):.0f} a second |"
            )
            site.django(ANNOUNCE, name="stuck", each=200)
            stuck.wait_for(1)
            held = rate(site, quick, each)
            print(f"| the same beside 600 messages to receivers that never answer | {held:.0f} a second |")
            print(f"| memory of the courier | {memory(site):.0f} MB |")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def soon(site: Stack, receiver: Receiver) -> float:
    """Return the median of the seconds from the commit of one message to its arrival."""
    took = []
    for _ in range(20):
        before = len(receiver.received)
        site.django(ANNOUNCE, name="one", each=1)
        began = time.monotonic()
        receiver.wait_for(before + 1)
        took.append(time.monotonic() - began)
        time.sleep(0.7)
    return statistics.median(took)


def rate(site: Stack, receiver: Receiver, each: int) -> float:
    """Return how many messages a second arrive when many are committed at once."""
    before = len(receiver.received)
    site.django(ANNOUNCE, name="quick", each=each)
    began = time.monotonic()
    receiver.wait_for(before + each * WORKSPACES, seconds=600)
    return each * WORKSPACES / (time.monotonic() - began)


def memory(site: Stack) -> float:
    """Return the courier's resident memory in MB."""
    pid: Any = next(pid for pid, line in site.processes().items() if line.endswith(" deliver"))
    kilobytes = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(kilobytes.split()[1]) / 1000


if __name__ == "__main__":
    main()
