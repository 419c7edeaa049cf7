"""Words for amounts of meters and for prices."""

from __future__ import annotations

from django import template

from apps.billing import amounts
from apps.billing.plans import CURRENCY, METERS

register = template.Library()
_SIGNS = {"usd": "$", "eur": "€", "gbp": "£"}


@register.filter
def amount(value: int | None, meter: str) -> str:
    """Return an amount of a meter as people say it."""
    return amounts.shown(meter, value)


@register.filter
def meter_name(slug: str) -> str:
    """Return what people call a meter."""
    return METERS[slug].name


@register.filter
def price(cents: int) -> str:
    """Return a price: ``$12``, ``$4.50``."""
    whole, rest = divmod(cents, 100)
    sign = _SIGNS.get(CURRENCY, f"{CURRENCY.upper()} ")
    return f"{sign}{whole:,}.{rest:02}" if rest else f"{sign}{whole:,}"
