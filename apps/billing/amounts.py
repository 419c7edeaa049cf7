"""Amounts of meters in words."""

from __future__ import annotations

from datetime import datetime

from django.utils import formats, timezone
from django.utils.translation import ngettext

from apps.billing.plans import METERS


def shown(meter: str, amount: int | None) -> str:
    """Return an amount as people say it: ``9 min 18 s``, ``2 h 5 min``, ``1.5 GB``, ``3 voices``; None is "any"."""
    if amount is None:
        return "any amount"
    match METERS[meter].unit:
        case "s":
            return _time(amount)
        case "min":
            return _time(amount * 60)
        case "bytes":
            return _bytes(amount)
        case "voices":
            return ngettext("%(n)s voice", "%(n)s voices", amount) % {"n": _grouped(amount)}
        case "people":
            return ngettext("%(n)s person", "%(n)s people", amount) % {"n": _grouped(amount)}
        case unit:
            return f"{_grouped(amount)} {unit}"


def _time(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [(_grouped(hours), "h"), (str(minutes), "min"), (str(rest), "s")]
    said = [f"{figure} {unit}" for figure, unit in parts if figure != "0"]
    return " ".join(said) or "0 s"


def _bytes(amount: int) -> str:
    value = float(amount)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def _grouped(amount: int) -> str:
    return f"{amount:,}".replace(",", "\u202f")


def day(moment: datetime) -> str:
    """Return the day of a moment, as sentences name it: ``3 December``."""
    return formats.date_format(timezone.localtime(moment), "j F")


def refusal(meter: str, wanted: int, left: int, resets_at: datetime) -> str:
    """Return the sentence for who asks for more than is left."""
    return (
        f"This takes {shown(meter, wanted)} of {METERS[meter].name} and {shown(meter, left)} is left "
        f"until {day(resets_at)}. Choose something shorter, a larger plan or a top-up."
    )


def cap_refusal(meter: str, wanted: int, left: int, resets_at: datetime) -> str:
    """Return the sentence for an API key that has used up its own cap."""
    return (
        f"This takes {shown(meter, wanted)} of {METERS[meter].name} and this API key may use {shown(meter, left)} more "
        f"until {day(resets_at)}. Use another key, or raise its cap."
    )


def full(meter: str, limit: int, held: int, more: int) -> str:
    """Return the sentence for who adds something where the plan's limit is reached."""
    if METERS[meter].unit == "bytes":
        left = shown(meter, max(0, limit - held))
        return (
            f"This takes {shown(meter, more)} and {left} of your plan's {shown(meter, limit)} of storage is left. "
            "Delete something first, or choose a larger plan."
        )
    return (
        f"Your plan holds {shown(meter, limit)} and there {'is' if held == 1 else 'are'} {_grouped(held)} already. "
        "Delete one first, or choose a larger plan."
    )
