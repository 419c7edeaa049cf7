"""A WebSocket into the ASGI application, without a server. (channels.testing needs daphne to be installed.)"""

from __future__ import annotations

from typing import Any

from asgiref.testing import ApplicationCommunicator


class Wire(ApplicationCommunicator):
    """One socket at a path, with headers."""

    def __init__(self, application: Any, path: str, headers: list[tuple[bytes, bytes]]) -> None:
        scope = {"type": "websocket", "path": path, "query_string": b"", "headers": headers, "subprotocols": []}
        super().__init__(application, scope)

    async def connect(self) -> int | None:
        """Return None when let in, else the code of the close."""
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(5)
        return None if answer["type"] == "websocket.accept" else answer.get("code", 1000)

    async def text(self) -> str:
        """Return the next text."""
        message = await self.receive_output(5)
        assert message["type"] == "websocket.send", message
        return str(message["text"])

    async def disconnect(self) -> None:
        """Leave."""
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(5)
