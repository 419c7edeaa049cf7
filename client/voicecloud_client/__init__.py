"""voicecloud's API for Python programs."""

from __future__ import annotations

from voicecloud_client.client import Client
from voicecloud_client.errors import ApiError, ConnectionFailed, JobFailed, StillRunning, VoicecloudError
from voicecloud_client.options import Options, Terms, Training
from voicecloud_client.version import __version__

__all__ = [
    "ApiError",
    "Client",
    "ConnectionFailed",
    "JobFailed",
    "Options",
    "StillRunning",
    "Terms",
    "Training",
    "VoicecloudError",
    "__version__",
]
