"""``manage.py up``: the whole site on one machine. Starts each part as a process of its own and watches them."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from voicecloud import demo, processes
from voicecloud.processes import CannotStart, Child, Supervisor

ROOT = Path(__file__).resolve().parent.parent
# Python answers with one core a process, and connections that stay open do not spread evenly: two processes a core
# answer the slowest twentieth of fifty users in half the time of one (docs/performance.md). Each takes 100 MB.
WEB_PROCESSES = min(8, 2 * (os.cpu_count() or 1))
SWEEP_SECONDS = "5"
PREPARE_SECONDS = 300
ANSWER_SECONDS = 60.0
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where the site itself is reached then


def main(arguments: list[str]) -> int:
    """Run until a signal; return the exit status: 0 after a wished end, 1 when it cannot start."""
    options = parse(arguments)
    try:
        if options.demo_billing:
            demo.check(options.host)
        return run(options)
    except CannotStart as refusal:
        print(refusal, file=sys.stderr)
        return 1


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return host, port, data, workers, web processes and whether a local Stripe sells."""
    parser = argparse.ArgumentParser(prog="manage.py up", description="Run the whole site on this machine.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--host", default="127.0.0.1")
    default = os.environ.get("VOICECLOUD_DATA") or ROOT / "var"
    parser.add_argument("--data", type=Path, default=Path(default), help="folder of all state (default: var)")
    parser.add_argument("--workers", type=int, default=1, help="training and conversion workers (default: 1)")
    parser.add_argument(
        "--web", type=int, default=WEB_PROCESSES, help=f"processes that answer pages (default: {WEB_PROCESSES})"
    )
    parser.add_argument(
        "--demo-billing", action="store_true", help="sell plans through a local Stripe, where nobody is charged"
    )
    options = parser.parse_args(arguments)
    if options.workers < 1 or options.web < 1:
        parser.error("--workers and --web take a number from 1")
    return options


def run(options: argparse.Namespace) -> int:
    """Start all parts, in the order in which they need each other, watch them, stop them."""
    data: Path = options.data.resolve()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = processes.lock(data / "up.lock")
    listener = processes.listening_socket(options.host, options.port)
    port = listener.getsockname()[1]
    address = own_address(options.host, port)
    os.environ.setdefault("SITE_URL", address)
    os.environ["VOICECLOUD_DATA"] = str(data)
    supervisor = Supervisor()
    supervisor.listen()
    own_socket: Path | None = None
    try:
        if not os.environ.get("REDIS_URL"):
            own_socket = processes.socket_path(data)
            supervisor.start(processes.valkey(data, own_socket))
            processes.wait_for_valkey(own_socket)
            os.environ["REDIS_URL"] = f"unix://{own_socket}?db=0"
        if options.demo_billing:
            demo.start(supervisor, data, address)
        prepare()
        # What web processes of an earlier start counted; while the site runs these of ended ones stay, to be added up.
        shutil.rmtree(data / "metrics", ignore_errors=True)
        os.set_inheritable(listener.fileno(), True)
        web = command("web", "--fd", str(listener.fileno()))
        answering = [Child(f"web {n + 1}", web, (listener.fileno(),)) for n in range(options.web)]
        supervisor.start(*answering[:2])
        if wait_for_answer(supervisor, f"{address}/healthz"):
            processes.say(f"voicecloud answers on {address}/  (data: {data}; stop with Ctrl-C)")
            # Later than the first pages, as they load much and share the cores.
            sweep = Child("sweep", command("sweep", "--every", SWEEP_SECONDS))
            parts = [*answering[2:], *workers(options.workers), sweep, Child("webhooks", command("deliver"))]
            supervisor.start(*parts)
        supervisor.run()
    finally:
        supervisor.stop()
        listener.close()
        held.close()
        if own_socket is not None and own_socket.parent != data:
            with contextlib.suppress(OSError):
                own_socket.unlink(missing_ok=True)
                own_socket.parent.rmdir()
    return 0


def own_address(host: str, port: int) -> str:
    """Return where this machine itself reaches the site."""
    if host in WILDCARDS:
        processes.say("Other machines reach this site once SITE_URL names the address that they use.")
        host = WILDCARDS[host]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def command(*arguments: str) -> list[str]:
    """Return the command line of one of the site's own commands."""
    return [sys.executable, str(ROOT / "manage.py"), *arguments]


def workers(count: int) -> list[Child]:
    """Return the workers: ``count`` for the gpu queue, which share the cores, and one for the default queue."""
    threads = str(max(1, (os.cpu_count() or 1) // count))
    gpu = [Child(f"gpu worker {n + 1}", command("worker", "gpu", "--threads", threads)) for n in range(count)]
    return [*gpu, Child("default worker", command("worker", "default", "--threads", "1"))]


def prepare() -> None:
    """Bring database and static files up to date. Raises CannotStart when that fails."""
    try:
        status = subprocess.run(command("prepare", "--first-login"), timeout=PREPARE_SECONDS).returncode
    except subprocess.TimeoutExpired:
        raise CannotStart(f"The database could not be brought up to date within {PREPARE_SECONDS} s.") from None
    if status:
        raise CannotStart("The database or the static files could not be brought up to date; the reason is above.")


def wait_for_answer(supervisor: Supervisor, url: str) -> bool:
    """Return True once the site answers, False when the end was asked for before. Raises CannotStart after a minute."""
    limit = time.monotonic() + ANSWER_SECONDS
    while not supervisor.stopping:
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # our own address
            if answer.status == 200:
                return True
        if time.monotonic() > limit:
            raise CannotStart(f"The site did not answer on {url} within {ANSWER_SECONDS:.0f} s; the reason is above.")
        supervisor.keep_alive()
        time.sleep(0.1)
    return False
