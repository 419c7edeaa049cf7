"""Which receivers may be called: public ones alone, so that nobody reaches our own network through us."""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from dataclasses import dataclass
from socket import getaddrinfo
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.encoding import iri_to_uri

from apps.errors import Refused

URL_CHARACTERS_MAX = 500
LOOKUP_SECONDS = 5.0
PORTS_BELOW_1024 = (80, 443)
# What Python 3.11 takes for public: protocol assignments, 6to4 relays and site-local ones, among them clouds' own
# services for the machines in them (Oracle's, Azure's).
NOT_PUBLIC = [
    ipaddress.ip_network(each) for each in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "fec0::/10")
]
NAT64 = ipaddress.ip_network("64:ff9b::/96")
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Place:
    """A receiver's address, taken apart."""

    secure: bool
    host: str
    port: int
    path: str  # with its query


@dataclass(frozen=True)
class Address:
    """What a socket connects to; made of numbers only, so connecting asks no name server again."""

    family: int
    sockaddr: tuple[Any, ...]


def read(url: str) -> Place:
    """Take the address apart. Raises Refused with what to change about it."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode() if not _is_literal(parts.hostname) else parts.hostname
    except (ValueError, UnicodeError):
        raise Refused("This is no web address. Enter one like https://example.com/hooks.", status=422) from None
    secure = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not host or len(url) > URL_CHARACTERS_MAX:
        raise Refused("Enter a web address that begins with https://, like https://example.com/hooks.", status=422)
    if parts.username is not None or parts.password is not None:
        raise Refused("Leave user name and password out of the address; the signature proves who calls.", status=422)
    port = port if port is not None else (443 if secure else 80)
    if not settings.WEBHOOK_ALLOW_PRIVATE:
        if not secure and settings.SITE_URL.startswith("https://"):
            raise Refused("Enter an https:// address: events are not sent unencrypted.", status=422)
        if port < 1024 and port not in PORTS_BELOW_1024:
            raise Refused("Use port 80, 443 or one from 1024.", status=422)
    path = iri_to_uri(parts.path or "/") + (f"?{iri_to_uri(parts.query)}" if parts.query else "")
    return Place(secure, host, port, path)


def look_up(place: Place, *, seconds: float = LOOKUP_SECONDS) -> list[Address]:
    """Return where the receiver is, having checked every address of its name.

    Raises Refused when there is none, when one is not public, or when the name servers take longer than ``seconds``.
    """
    found = [Address(family, sockaddr) for family, _, _, _, sockaddr in _ask(place, seconds)]
    private = not settings.WEBHOOK_ALLOW_PRIVATE and not all(is_public(str(each.sockaddr[0])) for each in found)
    if private or not found:
        raise _none(place)
    return found


def _none(place: Place) -> Refused:
    """One sentence for a name that is unknown and for one that is ours: else it would tell which names we have."""
    return Refused(f"No public address was found for {place.host}. Check its spelling.", status=422)


def is_public(number: str) -> bool:
    """Say whether an IP address belongs to the public internet; one that carries an IPv4 address is judged by that."""
    address: IPAddress = ipaddress.ip_address(number.partition("%")[0])
    address = _carried(address) or address
    if address.is_multicast or address.is_reserved or any(address in network for network in NOT_PUBLIC):
        return False
    return address.is_global


def _carried(address: IPAddress) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address inside a mapped, 6to4, Teredo or NAT64 one."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def _is_literal(host: str | None) -> bool:
    return host is not None and ":" in host


def _ask(place: Place, seconds: float) -> list[Any]:
    """Ask the name servers, in a thread of its own: the system's resolver knows no time limit of ours."""
    answers: queue.SimpleQueue[list[Any] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM))
        except OSError as error:
            answers.put(error)
        except UnicodeError:  # a label that is too long
            answers.put(socket.gaierror(socket.EAI_NONAME, "no such name"))

    threading.Thread(target=ask, daemon=True, name="name lookup").start()
    try:
        answer = answers.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise Refused(f"The address of {place.host} was not found in time. Try again later.", status=422) from None
    if isinstance(answer, OSError):
        raise _none(place)
    return answer
