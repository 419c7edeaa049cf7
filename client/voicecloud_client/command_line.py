"""The command ``voicecloud``. Exit status: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from voicecloud_client.client import Client
from voicecloud_client.commands import convert, jobs, login, train, usage, voices
from voicecloud_client.commands.context import Context, UsageError
from voicecloud_client.credentials import NoCredentials, chosen
from voicecloud_client.errors import ApiError, VoicecloudError
from voicecloud_client.terminal import Screen
from voicecloud_client.version import __version__

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def parser() -> argparse.ArgumentParser:
    """Return what takes the command line apart."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--url", help="the site; or VOICECLOUD_URL")
    common.add_argument("--key", help="the API key; better VOICECLOUD_KEY, which other users of the machine cannot see")
    common.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds without a byte; 60")
    common.add_argument("--json", action="store_true", help="results as lines of JSON")
    whole = argparse.ArgumentParser(prog="voicecloud", description="Train voices and convert recordings into them.")
    whole.add_argument("--version", action="version", version=f"voicecloud {__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (login, voices, train, convert, jobs, usage):
        module.add(commands, common)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    given = parser().parse_args(arguments)
    screen = Screen(as_json=given.json)
    try:
        return _run(given, screen)
    except KeyboardInterrupt:
        screen.tell("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except ApiError as error:
        screen.tell(f"{error} (request {error.request_id})" if error.status >= 500 and error.request_id else str(error))
        return _failed(screen, error.as_json())
    except (VoicecloudError, OSError) as error:
        screen.tell(str(error))
        status = _failed(screen, {"message": str(error)})
        return USAGE if isinstance(error, (UsageError, NoCredentials)) else status


def _run(given: argparse.Namespace, screen: Screen) -> int:
    if given.command == "login":
        return login.login(given, screen)
    credentials = chosen(given.url, given.key)
    with Client(credentials.url, credentials.key, timeout=given.timeout) as client:
        status: int = given.run(Context(client, screen, given))
    return status


def _failed(screen: Screen, fault: object) -> int:
    if screen.as_json:
        screen.show({"error": fault})
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
