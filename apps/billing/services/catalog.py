"""What this site sells, at Stripe: a product and a monthly price for each plan, the same with one price for top-ups."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from apps.billing import stripe
from apps.billing.plans import CURRENCY, PLANS, TOP_UPS
from apps.errors import Refused

if TYPE_CHECKING:
    from stripe import Price
    from stripe.params import PriceCreateParams

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Article:
    """Something for sale; ``price`` in cents, a month's where it is monthly."""

    slug: str
    name: str
    description: str
    price: int
    monthly: bool

    @property
    def code(self) -> str:
        """The product's id and the price's lookup key."""
        return f"{stripe.PREFIX}{self.slug}"


def articles() -> list[Article]:
    """Return all that is for sale."""
    plans = [
        Article(plan.slug, plan.name, plan.summary, plan.price or 0, True)
        for plan in PLANS.values()
        if plan.is_for_sale
    ]
    return plans + [Article(one.slug, one.name, "Used after the plan's.", one.price, False) for one in TOP_UPS.values()]


def price_of(slug: str, amount: int) -> str:
    """Return the id of the price at Stripe. Raises Refused (503) when there is none, or it is not what we show."""
    with stripe.asking():
        found = _price(f"{stripe.PREFIX}{slug}")
    if found is None or found.unit_amount != amount or found.currency != CURRENCY:
        log.error("Stripe has no price of %s for %s: run manage.py stripe_sync", amount, slug)
        raise Refused("This cannot be bought just now. We have been told; try again later.", status=503)
    return str(found.id)


def _price(key: str) -> Price | None:
    return next(iter(stripe.client().v1.prices.list({"lookup_keys": [key], "active": True, "limit": 1}).data), None)


def ensure() -> list[str]:
    """Make what is missing at Stripe, change what is different; return what was done, a sentence each.

    Prices cannot be changed there: a new one takes over the lookup key, and who pays the old one goes on paying it.
    """
    done = []
    for article in articles():
        with stripe.asking():
            done += [*_ensure_product(article), *_ensure_price(article)]
    return done


def _ensure_product(article: Article) -> list[str]:
    products = stripe.client().v1.products
    found = stripe.product(article.code)
    if found is None:
        products.create(
            {"id": article.code, "name": article.name, "description": article.description},
            {"idempotency_key": stripe.intent("product", article.code, article.name, article.description)},
        )
        return [f"Made product {article.code}."]
    if (found.name, found.description, found.active) == (article.name, article.description, True):
        return []
    products.update(article.code, {"name": article.name, "description": article.description, "active": True})
    return [f"Changed product {article.code}."]


def _ensure_price(article: Article) -> list[str]:
    found = _price(article.code)
    if found is not None and (found.unit_amount, found.currency, bool(found.recurring)) == (
        article.price,
        CURRENCY,
        article.monthly,
    ):
        return []
    params: PriceCreateParams = {
        "product": article.code,
        "currency": CURRENCY,
        "unit_amount": article.price,
        "lookup_key": article.code,
        "transfer_lookup_key": True,
        "metadata": {stripe.MARK: article.slug},
    }
    if article.monthly:
        params["recurring"] = {"interval": "month"}
    before = found.id if found else "none"
    key = stripe.intent("price", article.code, before, sorted(params.items()))
    made = stripe.client().v1.prices.create(params, {"idempotency_key": key})
    return [f"Made price {made.id} for {article.code}: {article.price / 100:.2f} {CURRENCY}, before it {before}."]
