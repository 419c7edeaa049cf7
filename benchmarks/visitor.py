"""A visitor of the site for the benchmarks: one connection that stays open, cookies, forms, files; light on the CPU.

The visitors share the machine with the site that they measure, so each costs as little as it can.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

ANSWER_SECONDS = 60.0


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


@dataclass
class Visitor:
    """Somebody at an address of their own, as the site behind a proxy sees them."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    _wire: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> Answer:
        return await self.ask("GET", path)

    async def post(self, path: str, form: dict[str, Any], files: dict[str, Path] | None = None) -> Answer:
        """Send a form as the site's own pages do, with the token of the last page's cookie."""
        form = {"csrfmiddlewaretoken": self.cookies.get("csrftoken", ""), **form}
        if files is None:
            return await self.ask("POST", path, urlencode(form).encode(), "application/x-www-form-urlencoded")
        mark = secrets.token_hex(16)
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in form.items()
        ]
        for name, file in files.items():
            head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{file.name}"\r\n\r\n'
            parts.append(head.encode() + file.read_bytes() + b"\r\n")
        body = b"".join(parts) + f"--{mark}--\r\n".encode()
        return await self.ask("POST", path, body, f"multipart/form-data; boundary={mark}")

    async def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> Answer:
        """Send one request and read its answer. Raises TimeoutError, and OSError when the connection breaks."""
        headers = {"Host": urlsplit(self.url).netloc, "Referer": self.url + path, **self.headers}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body:
            headers |= {"Content-Length": str(len(body)), "Content-Type": kind}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        async with asyncio.timeout(ANSWER_SECONDS):
            if self._wire is None or self._wire[0].at_eof():
                address = urlsplit(self.url)
                self._wire = await asyncio.open_connection(address.hostname, address.port)
            reader, writer = self._wire
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await writer.drain()
            return await self._read(reader, method)

    async def _read(self, reader: asyncio.StreamReader, method: str) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            if name.lower() == "set-cookie":
                cookie, _, rest = value.partition(";")[0].partition("=")
                self.cookies[cookie] = rest
            headers[name.lower()] = value
        status = int(first.split()[1])
        body = b""
        if method != "HEAD" and status not in (204, 304):
            if "content-length" in headers:
                body = await reader.readexactly(int(headers["content-length"]))
            else:
                while size := int(await reader.readline(), 16):
                    body += await reader.readexactly(size)
                    await reader.readline()
                await reader.readline()
        return Answer(status, headers, body)

    async def close(self) -> None:
        """Hang up."""
        if self._wire is not None:
            self._wire[1].close()
            self._wire = None


def percentiles(seconds: list[float], *parts: float) -> list[float]:
    """Return these parts (0..1) of the sorted times, in milliseconds."""
    ordered = sorted(1000 * value for value in seconds)
    return [ordered[int(part * (len(ordered) - 1))] for part in parts]
