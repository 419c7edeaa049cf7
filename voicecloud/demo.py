"""A local Stripe for ``manage.py up --demo-billing``: plans can be tried out, and nobody is charged.

Whoever reaches it takes any plan without paying, so it listens on this machine only and is no part of a public site.
Standard library only: it is read before the site's settings are.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from voicecloud import processes
from voicecloud.processes import CannotStart, Child, Supervisor

ROOT = Path(__file__).resolve().parent.parent
SERVER = ROOT / "tests" / "stripe_server.py"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
ANSWER_SECONDS, FILL_SECONDS = 30.0, 120


def check(host: str) -> None:
    """Raise CannotStart where a demo would give plans away, or stand in the way of a real Stripe."""
    site = urlsplit(os.environ.get("SITE_URL", "http://127.0.0.1"))
    if host not in LOOPBACK or site.hostname not in LOOPBACK or site.scheme != "http":
        raise CannotStart(
            "--demo-billing lets everybody take a plan without paying, so it runs on a loopback address only: "
            "leave --host and SITE_URL as they are, or set Stripe's own keys."
        )
    if os.environ.get("STRIPE_SECRET_KEY"):
        raise CannotStart("STRIPE_SECRET_KEY is set, so this site sells through Stripe: unset it for --demo-billing.")
    if not SERVER.exists():
        raise CannotStart("--demo-billing needs the folder tests/ of the source, which is not here.")


def start(supervisor: Supervisor, data: Path, address: str) -> None:
    """Start the local Stripe with the site's plans, and tell the site's processes of it. Raises CannotStart."""
    folder = data / "demo-stripe"
    folder.mkdir(exist_ok=True, mode=0o700)
    secret = folder / "secret"
    if not secret.exists():
        secret.touch(mode=0o600)
        secret.write_text(f"sk_test_demo{secrets.token_hex(12)}\nwhsec_demo{secrets.token_hex(12)}\n")
    listener = processes.listening_socket("127.0.0.1", 0)
    port = listener.getsockname()[1]
    listener.close()
    key, signing = secret.read_text().split()
    base = f"http://127.0.0.1:{port}"
    os.environ.update(STRIPE_SECRET_KEY=key, STRIPE_WEBHOOK_SECRET=signing, STRIPE_API_BASE=base)
    command = [sys.executable, "-m", "tests.stripe_server", "--port", str(port), "--secret", str(secret)]
    command += ["--webhook", f"{address}/stripe/webhook", "--state", str(folder / "state.json")]
    supervisor.start(Child("demo stripe", command, folder=ROOT))
    _wait(base)
    _fill()
    processes.say(f"Plans are sold through a local Stripe on {base}: a demo, nobody is charged.")


def _wait(base: str) -> None:
    limit = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < limit:
        try:
            urllib.request.urlopen(base, timeout=2).close()  # noqa: S310  # our own address
        except urllib.error.HTTPError:
            return  # it has no front page, and says so
        except OSError:
            time.sleep(0.1)
    raise CannotStart(f"The local Stripe does not answer on {base}; the reason is above.")


def _fill() -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        command = [sys.executable, str(ROOT / "manage.py"), "stripe_sync"]
        if not subprocess.run(command, timeout=FILL_SECONDS, stdout=subprocess.DEVNULL).returncode:
            return
    raise CannotStart("The local Stripe could not be given the site's plans; the reason is above.")
