"""The one no that money is about."""

from __future__ import annotations

from datetime import datetime

from apps.errors import Refused


class QuotaExceeded(Refused):
    """More was asked for than is left (402): ``wanted`` and ``left`` in the meter's unit.

    ``resets_at`` is when the allowance begins anew; None for what is held, and where an API key's own cap was met.
    """

    def __init__(self, message: str, *, meter: str, wanted: int, left: int, resets_at: datetime | None = None) -> None:
        super().__init__(message, status=402)
        self.meter, self.wanted, self.left, self.resets_at = meter, wanted, left, resets_at
