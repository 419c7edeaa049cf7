"""The version of the client: that of the newest release of the site whose API it speaks."""

from __future__ import annotations

__version__ = "0.1.0"
