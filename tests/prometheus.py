"""A Prometheus of Debian's for the time of a test: its state in a folder of its own, on a free port of loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from apps.jobs.lifeline import die_with_parent
from tests.stack import ROOT, answers, free_port

DEPLOY = ROOT / "deploy" / "prometheus"


def is_installed() -> bool:
    """Say whether the server and its tool are there."""
    return shutil.which("prometheus") is not None and shutil.which("promtool") is not None


@dataclass
class Server:
    """A running Prometheus."""

    url: str

    def ask(self, path: str, **given: str) -> Any:
        """Return the data that its HTTP API answers with; fail with its reason when it refuses."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(given)}"
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{given}: {refused.read().decode()}") from None
        assert found["status"] == "success", found
        return found["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression has now."""
        found = self.ask("query", query=expression)
        return [{"metric": {}}] if found["resultType"] == "scalar" else list(found["result"])


def configured(folder: Path, *, target: str, token: str) -> Path:
    """Copy what we ship into the folder, for a site at ``target`` and asked each second; return the configuration."""
    shutil.copytree(DEPLOY, folder, dirs_exist_ok=True)
    (folder / "metrics-token").write_text(token)
    text = (DEPLOY / "prometheus.yml").read_text()
    for shipped, here in (("127.0.0.1:8000", target), ("_interval: 15s", "_interval: 1s")):
        assert shipped in text
        text = text.replace(shipped, here)
    path = folder / "prometheus.yml"
    path.write_text(text)
    return path


@contextmanager
def server(*, target: str, token: str) -> Iterator[Server]:
    """Start a Prometheus that scrapes the site at ``target`` (host and port); end it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="vcm-"))
    port, log = free_port(), folder / "log"
    command = ["prometheus", f"--config.file={configured(folder, target=target, token=token)}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    found = Server(f"http://127.0.0.1:{port}")
    with log.open("wb") as output:
        end = partial(die_with_parent, os.getpid())
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, preexec_fn=end)
    try:
        limit = time.monotonic() + 60
        while not answers(f"{found.url}/-/ready"):
            assert process.poll() is None and time.monotonic() < limit, log.read_text()[-2000:]
            time.sleep(0.1)
        yield found
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
