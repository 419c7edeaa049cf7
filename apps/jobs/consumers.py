"""Job progress over WebSocket."""

from __future__ import annotations

from channels.generic.websocket import AsyncWebsocketConsumer


class JobConsumer(AsyncWebsocketConsumer):
    """One page's wire to its workspace's jobs."""
