"""Nobody reaches our own network through us: at save, at each delivery, whatever a name means a moment later."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from apps.errors import Refused
from apps.webhooks import addresses, services
from apps.webhooks.courier import Courier
from apps.webhooks.models import Delivery, Endpoint
from tests.webhooks.receivers import Receiver

PUBLIC = ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8", "64:ff9b::808:808"]
NOT_PUBLIC = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
]


@pytest.mark.parametrize("number", PUBLIC)
def test_public_numbers(number: str) -> None:
    assert addresses.is_public(number)


@pytest.mark.parametrize("number", NOT_PUBLIC)
def test_numbers_that_are_not_public(number: str) -> None:
    assert not addresses.is_public(number)


def meaning(monkeypatch: pytest.MonkeyPatch, *numbers: str) -> list[str]:
    """Let every name mean these numbers; return the list of names that are asked for."""
    asked: list[str] = []

    def answer(host: str, port: int, **more: Any) -> list[Any]:
        asked.append(host)
        return [
            (socket.AF_INET6 if ":" in number else socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port))
            for number in numbers
        ]

    monkeypatch.setattr(addresses, "getaddrinfo", answer)
    return asked


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://localhost.:8080/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
        "http://0/",
    ],
)
def test_every_spelling_of_our_own_network_is_refused(url: str) -> None:
    with pytest.raises(Refused) as refused:
        addresses.look_up(addresses.read(url))
    assert refused.value.status == 422


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "https://"),
        ("example.com", "https://"),
        ("ftp://example.com/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("gopher://example.com/", "https://"),
        ("https://", "https://"),
        ("https://user:secret@example.com/", "password"),
        ("https://user@example.com/", "user name"),
        ("https://example.com:22/", "443"),
        ("https://example.com:25/", "443"),
        ("https://example.com:99999/", "web address"),
        ("https://example.com:port/", "web address"),
        ("https://[::1/", "web address"),
        ("https://" + "a" * 64 + ".com/", "web address"),
        ("https://example.com/" + "a" * 500, "https://"),
    ],
)
def test_what_is_wrong_with_an_address_is_said(url: str, word: str) -> None:
    with pytest.raises(Refused) as refused:
        addresses.read(url)
    assert word in refused.value.message


def test_a_site_with_https_sends_nothing_unencrypted(settings: Any) -> None:
    assert addresses.read("http://example.com/").port == 80
    settings.SITE_URL = "https://voice.example.com"
    with pytest.raises(Refused, match="https"):
        addresses.read("http://example.com/")
    assert addresses.read("https://bücher.example/ä?q=1#top") == addresses.Place(
        True, "xn--bcher-kva.example", 443, "/%C3%A4?q=1"
    )


def test_no_line_can_be_smuggled_into_the_request() -> None:
    for url in ("https://example.com/\r\nX-Evil: 1", "https://example.com/a b?c d\r\n"):
        try:
            path = addresses.read(url).path
        except Refused:
            continue
        assert not set(path) & set("\r\n \t")


def test_one_address_that_is_not_public_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    meaning(monkeypatch, "93.184.215.14", "10.0.0.7")
    with pytest.raises(Refused, match="No public address"):
        addresses.look_up(addresses.read("https://example.com/"))
    meaning(monkeypatch, "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c")
    assert len(addresses.look_up(addresses.read("https://example.com/"))) == 2


@pytest.mark.django_db
def test_an_address_of_ours_is_not_saved(acme: Any, alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    meaning(monkeypatch, "192.168.0.1")
    given = {"url": "https://intranet.example.com/", "description": "", "events": []}
    with pytest.raises(Refused):
        services.create_endpoint(workspace=acme, user=alice, **given)
    assert not Endpoint.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_name_that_means_something_else_later_reaches_nothing(
    acme: Any, alice: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = receiver.server.server_address[1]
    meaning(monkeypatch, "93.184.215.14")
    url = f"http://rebinding.example.com:{port}/hooks"
    endpoint = services.create_endpoint(workspace=acme, user=alice, url=url, description="", events=[])
    meaning(monkeypatch, "127.0.0.1")
    services.send_test(endpoint=endpoint, user=alice)
    Courier().run_until_empty()
    assert receiver.received == []
    delivery = Delivery.objects.get()
    assert delivery.status == "failed" and "No public address" in delivery.last_attempt.error


def test_the_name_is_asked_once_and_the_connection_goes_where_it_was_found(
    receiver: Receiver, private: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.webhooks.sending import post

    asked = meaning(monkeypatch, "127.0.0.1")
    connected: list[Any] = []
    real = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda wire, where: connected.append(where) or real(wire, where))
    port = receiver.server.server_address[1]
    assert post(f"http://once.example.com:{port}/", body=b"{}", headers={}).status_code == 204
    assert asked == ["once.example.com"]
    assert connected == [("127.0.0.1", port)]


def test_an_answer_does_not_tell_whether_we_have_such_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    for numbers in (["10.0.0.7"], []):
        meaning(monkeypatch, *numbers)
        with pytest.raises(Refused) as refused:
            addresses.look_up(addresses.read("https://database.internal.example.com/"))
        said.append(refused.value.message)
    monkeypatch.undo()
    with pytest.raises(Refused) as refused:
        addresses.look_up(addresses.read("https://no-such-name.invalid/"))
    said.append(refused.value.message.replace("no-such-name.invalid", "database.internal.example.com"))
    assert len(set(said)) == 1
