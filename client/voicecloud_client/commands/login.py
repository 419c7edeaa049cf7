"""``voicecloud login``: asks for address and key, tries them, keeps them."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from urllib.parse import urlsplit

from voicecloud_client.client import Client
from voicecloud_client.commands.context import Subparsers, UsageError
from voicecloud_client.credentials import Credentials, keep
from voicecloud_client.terminal import Screen

_OWN = {"localhost", "127.0.0.1", "::1"}


def add(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    text = "Log in to a workspace with an API key, which is made under API keys in that workspace."
    subparsers.add_parser("login", parents=[common], help="keep a site's address and a key", description=text)


def login(given: argparse.Namespace, screen: Screen) -> int:
    """Log in. Raises VoicecloudError when the key opens nothing."""
    url = given.url or os.environ.get("VOICECLOUD_URL") or _asked("Address of the site: ")
    if "//" not in url:
        url = f"https://{url}"
    if urlsplit(url).scheme == "http" and urlsplit(url).hostname not in _OWN:
        screen.tell("This address is not https: whoever is on the way can read the key.")
    key = given.key or os.environ.get("VOICECLOUD_KEY") or _asked("API key: ", secret=True)
    credentials = Credentials(url.rstrip("/"), key)
    with Client(credentials.url, credentials.key, timeout=given.timeout) as client:
        workspace = client.workspace.get()
    path = keep(credentials)
    screen.show(
        {"url": credentials.url, "workspace": workspace, "kept_in": str(path)},
        f"You are logged in to {workspace.name} at {credentials.url}. The key is kept in {path}.",
    )
    return 0


def _asked(question: str, *, secret: bool = False) -> str:
    if not sys.stdin.isatty():
        answer = sys.stdin.readline()
    elif secret:
        answer = getpass.getpass(question, stream=sys.stderr)
    else:
        sys.stderr.write(question)
        sys.stderr.flush()
        answer = sys.stdin.readline()
    if not answer.strip():
        raise UsageError(f"Nothing was given for “{question.strip(': ')}”.")
    return answer.strip()
