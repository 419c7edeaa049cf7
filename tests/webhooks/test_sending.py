"""One request against receivers that are slow, huge, wrong or hostile."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from apps.webhooks import addresses, sending
from apps.webhooks.sending import post
from tests.webhooks.receivers import Receiver, answer, listening

pytestmark = pytest.mark.usefixtures("private")


def send(url: str, *, seconds: float = 5.0) -> sending.Outcome:
    return post(url, body=b'{"a":1}', headers={"content-type": "application/json"}, seconds=seconds)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_delivered(receiver: Receiver, status: int) -> None:
    receiver.behave = answer(status)
    outcome = send(receiver.url + "?a=ü b")
    assert (outcome.status_code, outcome.error) == (status, "")
    (got,) = receiver.received
    assert got.body == b'{"a":1}' and got.path == "/hooks?a=%C3%BC%20b"
    assert got.headers["host"] == f"127.0.0.1:{receiver.server.server_address[1]}"


@pytest.mark.parametrize("status", [400, 401, 404, 409, 410, 429, 500, 503])
def test_anything_else_is_not(receiver: Receiver, status: int) -> None:
    receiver.behave = answer(status, b"why not")
    outcome = send(receiver.url)
    assert outcome.status_code == status and str(status) in outcome.error
    assert outcome.answer == "why not"


def test_redirects_are_not_followed(receiver: Receiver) -> None:
    with listening() as other:
        for status in (301, 302, 303, 307, 308):
            receiver.behave = answer(status, Location=other.url)
            outcome = send(receiver.url)
            assert outcome.status_code == status and "Redirects are not followed" in outcome.error
        assert other.received == []


def test_a_receiver_that_never_answers_is_left_in_time(receiver: Receiver) -> None:
    receiver.behave = lambda handler: time.sleep(5)
    begun = time.monotonic()
    outcome = send(receiver.url, seconds=1.0)
    assert 0.9 < time.monotonic() - begun < 2.5
    assert (outcome.status_code, outcome.error) == (None, "No answer within 1 s.")


def drip_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"x-slow: 1\r\n")
        handler.wfile.flush()
        time.sleep(0.2)


def drip_interim_answers(handler: BaseHTTPRequestHandler) -> None:
    while True:
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        handler.wfile.flush()
        time.sleep(0.1)


@pytest.mark.parametrize("behave", [drip_headers, drip_interim_answers])
def test_a_byte_now_and_then_buys_no_time(receiver: Receiver, behave: Any) -> None:
    receiver.behave = behave
    begun = time.monotonic()
    outcome = send(receiver.url, seconds=1.0)
    assert time.monotonic() - begun < 2.5
    assert outcome.error == "No answer within 1 s."


def test_a_status_counts_though_its_body_never_ends(receiver: Receiver) -> None:
    def drip_body(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.1)

    receiver.behave = drip_body
    begun = time.monotonic()
    outcome = send(receiver.url, seconds=1.0)
    assert time.monotonic() - begun < 2.5
    assert (outcome.status_code, outcome.error) == (200, "")


def test_of_a_huge_answer_little_is_read_and_less_is_kept(receiver: Receiver) -> None:
    written = []

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(500)
        handler.end_headers()
        for _ in range(1000):
            handler.wfile.write(b"\0" + b"y" * (1024 * 1024 - 1))
            written.append(1)

    receiver.behave = flood
    begun = time.monotonic()
    outcome = send(receiver.url)
    assert time.monotonic() - begun < 3.0
    assert len(outcome.answer) == 1024
    assert "\0" not in outcome.answer  # no database takes it
    assert len(written) < 100  # of 1000 MiB, as much as buffers take


def test_nobody_there_and_nobody_of_that_name() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert send(f"http://127.0.0.1:{port}/").error == "Nobody listens at the receiver's address."
    assert "No public address" in send("http://no-such-name.invalid/").error


def test_noise_instead_of_http(receiver: Receiver) -> None:
    receiver.behave = lambda handler: handler.wfile.write(b"220 mail.example.com ESMTP\r\n\r\n")
    assert send(receiver.url).error == "The receiver's answer was no HTTP."
    receiver.behave = lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)
    assert send(receiver.url).error == "The receiver closed the connection without an answer."


def test_a_name_server_that_hangs_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(addresses, "getaddrinfo", lambda *args, **more: released.wait(20))
    begun = time.monotonic()
    outcome = send("http://slow.example.com/", seconds=1.0)
    released.set()
    assert time.monotonic() - begun < 2.0
    assert "was not found in time" in outcome.error


# --- TLS


def _certificate(name: str, issuer: Any, issuer_key: Any, key: Any, *, days: int = 2, ca: bool = False) -> Any:
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    built = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer or subject, public_key=key.public_key())
    built = built.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=3))
    built = built.not_valid_after(now + datetime.timedelta(days=days))
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if name == "127.0.0.1":
        names = [x509.IPAddress(ipaddress.ip_address(name))]
    built = built.add_extension(x509.SubjectAlternativeName(names), False)
    built = built.add_extension(x509.BasicConstraints(ca, None), True)
    return built.sign(issuer_key, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ssl.SSLContext]]:
    """An authority that the sender trusts; a function that returns the context of a server with such a name."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("authority", None, ca_key, ca_key, ca=True)
    (tmp_path / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))

    def serve(name: str, **given: Any) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, ca.subject, ca_key, key, **given)
        path = tmp_path / "server.pem"
        private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        path.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, *private)
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    sending.trust.cache_clear()
    yield serve
    sending.trust.cache_clear()


def test_tls_is_checked_by_name_though_the_connection_goes_to_a_number(
    authority: Callable[..., ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = authority("receiver.example.com")
    asked: list[str | None] = []
    context.sni_callback = lambda wire, name, context: asked.append(name)
    with listening(context) as receiver:
        port = receiver.server.server_address[1]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
        monkeypatch.setattr(addresses, "getaddrinfo", lambda *args, **more: found)
        outcome = send(f"https://receiver.example.com:{port}/hooks")
        assert (outcome.status_code, outcome.error) == (204, "")
        assert asked == ["receiver.example.com"]
        assert receiver.received[0].headers["host"] == f"receiver.example.com:{port}"
        outcome = send(f"https://other.example.com:{port}/hooks")
        assert "certificate was not accepted" in outcome.error and "other.example.com" in outcome.error
        assert len(receiver.received) == 1


def test_a_number_in_the_address_is_checked_as_a_number(authority: Callable[..., ssl.SSLContext]) -> None:
    with listening(authority("127.0.0.1")) as receiver:
        assert send(receiver.url).status_code == 204


def test_an_expired_certificate_and_one_of_nobody_are_not_accepted(
    authority: Callable[..., ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(authority("127.0.0.1", days=-1)) as receiver:
        assert "expired" in send(receiver.url).error
    with listening(authority("127.0.0.1")) as receiver:
        monkeypatch.delenv("SSL_CERT_FILE")
        sending.trust.cache_clear()
        assert "certificate was not accepted" in send(receiver.url).error
        assert receiver.received == []


def test_a_handshake_that_never_ends_is_left_in_time() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        begun = time.monotonic()
        outcome = send(f"https://127.0.0.1:{listener.getsockname()[1]}/", seconds=1.0)
        assert time.monotonic() - begun < 2.5
        assert outcome.error == "No answer within 1 s."
