"""The only door to Stripe: its client with time limits, its errors as sentences, its objects as our facts.

The package is imported when it is first needed: it takes a quarter of a second that no start should wait for.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from django.conf import settings

from apps.billing.plans import PLANS
from apps.errors import Refused

if TYPE_CHECKING:
    from stripe import Price, Product, StripeClient
    from stripe import Subscription as StripeSubscription
    from stripe.checkout import Session

log = logging.getLogger(__name__)
CONNECT_SECONDS, ANSWER_SECONDS, RETRIES = 3.0, 10.0, 1
SIGNATURE_SECONDS = 300  # how old a webhook may be
PREFIX = "voicecloud-"  # of our products' ids and our prices' lookup keys
MARK = "voicecloud"  # the metadata of a price that says what it is for, also once its lookup key moved to a newer one
LIVE = ("trialing", "active", "past_due", "unpaid")
AWAY = "The payment service does not answer. Nothing was changed; try again in a minute."
UNKNOWN = "The payment service does not answer. It may have been done: look at the plan before you try again."
OUR_FAULT = "The payment service did not accept this. Nothing was changed, and we have been told."
NOT_FOR_SALE = "This site sells no plans: whoever runs it assigns them."


def is_on() -> bool:
    """Say whether this site sells plans through Stripe."""
    return bool(settings.STRIPE_SECRET_KEY)


def client() -> StripeClient:
    """Return the client. Raises Refused (409) on a site that sells nothing."""
    if not is_on():
        raise Refused(NOT_FOR_SALE, status=409)
    return _client(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE)


@cache
def _client(key: str, base: str) -> StripeClient:
    import stripe

    return stripe.StripeClient(
        key,
        base_addresses={"api": base} if base else {},
        max_network_retries=RETRIES,
        http_client=stripe.RequestsClient(timeout=(CONNECT_SECONDS, ANSWER_SECONDS)),
    )


@contextmanager
def asking(away: str = AWAY) -> Iterator[None]:
    """Turn what Stripe raises inside into Refused: 402 for a card, 503 for all that is not the user's doing.

    ``away`` is said when no answer came; of what changes something nobody knows then whether it was done (UNKNOWN).
    """
    import stripe

    try:
        yield
    except stripe.CardError as error:
        said = error.user_message or "The card was declined."
        raise Refused(f"{said} Nothing was changed; use another card.", status=402) from error
    except stripe.RateLimitError as error:
        log.warning("Stripe is asked too often: %s", error)
        raise Refused(AWAY, status=503) from error
    except (stripe.APIConnectionError, stripe.APIError) as error:
        log.warning("Stripe is away: %s", error)
        raise Refused(away, status=503) from error
    except stripe.StripeError as error:
        log.exception("Stripe refuses what we ask: %s", error.code)
        raise Refused(OUR_FAULT, status=503) from error


def intent(*parts: Any) -> str:
    """Return the idempotency key of one intent, always the same for the same parts."""
    text = json.dumps([str(part) for part in parts])
    return f"{PREFIX}{parts[0]}-{hashlib.sha256(text.encode()).hexdigest()[:40]}"


@dataclass(frozen=True)
class Told:
    """What is kept of an event: its id, its type, and the ids of what it is about and of the customer."""

    event: str
    type: str
    about: str
    customer: str


def event_of(body: bytes, signature: str) -> Told:
    """Return the event of a webhook. Raises Refused (400) for one that is forged, too old or no event."""
    import stripe

    try:
        event = stripe.Webhook.construct_event(
            body, signature, settings.STRIPE_WEBHOOK_SECRET, tolerance=SIGNATURE_SECONDS
        ).to_dict()
        row = event["data"]["object"]
        customer = row.get("id") if row.get("object") == "customer" else row.get("customer")
        if isinstance(customer, dict):  # an account may be set up to send it whole
            customer = customer.get("id")
        return Told(str(event["id"]), str(event["type"]), str(row.get("id") or ""), str(customer or ""))
    except (stripe.SignatureVerificationError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused("This is no event of Stripe's.", status=400) from error


@dataclass(frozen=True)
class Purchase:
    """A top-up that was paid: ``key`` is Stripe's id of the payment."""

    key: str
    meter: str
    amount: int
    valid_days: int
    name: str
    at: datetime


@dataclass(frozen=True)
class Facts:
    """What Stripe says of a customer now. ``plan`` is None for a price that is none of ours; ``subscription`` is None
    when there never was any."""

    subscription: str | None = None
    status: str = ""  # in Stripe's words
    plan: str | None = ""
    anchor: datetime | None = None
    past_due_since: datetime | None = None
    trial_ends_at: datetime | None = None
    trialed_at: datetime | None = None
    paid_until: datetime | None = None
    cancels_at: datetime | None = None
    next_plan: str = ""
    schedule: str = ""
    item: str = ""
    purchases: tuple[Purchase, ...] = ()
    customer_is_gone: bool = False  # deleted at Stripe

    @property
    def is_live(self) -> bool:
        """Say whether the subscription goes on."""
        return self.status in LIVE


def fetch(customer: str) -> Facts:
    """Return what Stripe says of a customer now. Raises Refused when it cannot be asked."""
    import stripe

    with asking():
        try:
            found = client().v1.subscriptions.list({"customer": customer, "status": "all", "limit": 100})
            sessions = client().v1.checkout.sessions.list({"customer": customer, "status": "complete", "limit": 100})
            bought = [_purchase(session) for session in sessions.auto_paging_iter()]
        except stripe.InvalidRequestError as error:
            if error.code != "resource_missing" or not _is_deleted(customer):
                raise  # a key of another account knows none of our customers: that ends nobody's plan
            return Facts(customer_is_gone=True)
        purchases = tuple(purchase for purchase in bought if purchase is not None)
        return _facts(found.data, purchases)


def _is_deleted(customer: str) -> bool:
    return bool(getattr(client().v1.customers.retrieve(customer), "deleted", False))


def product(code: str) -> Product | None:
    """Return a product, or None when there is none."""
    import stripe

    try:
        return client().v1.products.retrieve(code)
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":
            raise
        return None


def close_page(session: str) -> bool:
    """Close an open pay page; False for one that was paid a moment ago."""
    import stripe

    sessions = client().v1.checkout.sessions
    try:
        sessions.expire(session)
    except stripe.InvalidRequestError as error:
        log.warning("pay page %s was not closed: %s", session, error)
        return sessions.retrieve(session).status == "expired"
    return True


def open_pages(customer: str) -> list[Session]:
    """Return the customer's pay pages that can still be paid."""
    found = client().v1.checkout.sessions.list({"customer": customer, "status": "open", "limit": 100})
    return list(found.auto_paging_iter())


def close_plan_pages(customer: str) -> None:
    """Close the pages on which the customer could buy a plan. Raises Refused when Stripe cannot be asked."""
    with asking():
        for page in open_pages(customer):
            if page.mode == "subscription":
                close_page(page.id)


def customers() -> Iterator[tuple[str, uuid.UUID]]:
    """Yield Stripe's customers that are ours, each with its workspace's code."""
    with asking():
        for customer in client().v1.customers.list({"limit": 100}).auto_paging_iter():
            code = customer.metadata.to_dict().get("workspace", "") if customer.metadata else ""
            try:
                yield customer.id, uuid.UUID(code)
            except ValueError:
                continue  # the account may have customers of something else


def delete_customer(customer: str) -> None:
    """Delete a customer at Stripe, and end at once what they pay for. Deleting it again does nothing."""
    import stripe

    with asking():
        try:
            client().v1.customers.delete(customer)
        except stripe.InvalidRequestError as error:
            if error.code != "resource_missing":
                raise


def _facts(rows: list[StripeSubscription], purchases: tuple[Purchase, ...]) -> Facts:
    begun = [row for row in rows if row.status not in ("incomplete", "incomplete_expired")]
    if not begun:
        return Facts(purchases=purchases)
    live = [row for row in begun if row.status in LIVE]
    if len(live) > 1:
        log.error("customer %s has %s subscriptions and pays each: end all but one", live[0].customer, len(live))
    row = max(live or begun, key=lambda one: (one.created, one.id))
    item = row["items"].data[0]
    next_plan, schedule = _scheduled(row) if live else ("", "")
    end = item.current_period_end
    trials = [one.trial_start for one in begun if one.trial_start]
    return Facts(
        subscription=row.id,
        status=row.status,
        plan=plan_of_price(item.price),
        anchor=_moment(row.billing_cycle_anchor),
        past_due_since=_past_due_since(row),
        trial_ends_at=_moment(row.trial_end) if row.status == "trialing" else None,
        trialed_at=_moment(min(trials)) if trials else None,
        paid_until=_moment(end),
        cancels_at=_moment(row.cancel_at or (end if row.cancel_at_period_end else None)),
        next_plan=next_plan,
        schedule=schedule,
        item=item.id,
        purchases=purchases,
    )


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _past_due_since(row: StripeSubscription) -> datetime | None:
    """Return when the oldest invoice that is still to be paid was made; of the newest alone a second month would
    begin the grace anew."""
    if row.status not in ("past_due", "unpaid"):
        return None
    invoices = client().v1.invoices.list({"subscription": row.id, "status": "open", "limit": 100})
    made = [invoice.created for invoice in invoices.auto_paging_iter()]
    return _moment(min(made) if made else row["items"].data[0].current_period_start)


def _scheduled(row: StripeSubscription) -> tuple[str, str]:
    """Return the plan that a schedule changes to, and the schedule."""
    if not row.schedule:
        return "", ""
    code = row.schedule if isinstance(row.schedule, str) else row.schedule.id
    schedule = client().v1.subscription_schedules.retrieve(code)
    now = schedule.current_phase.end_date if schedule.current_phase else 0
    for phase in schedule.phases:
        if now and phase.start_date >= now:
            price = phase["items"][0].price
            return plan_of_price(client().v1.prices.retrieve(price if isinstance(price, str) else price.id)) or "", code
    return "", code


def plan_of_price(price: Price) -> str | None:
    """Return the plan that a price is for; None, and a line in the log, when it is none of ours."""
    marked = price.metadata.to_dict().get(MARK) if price.metadata else None
    slug = marked or (price.lookup_key or "").removeprefix(PREFIX)
    if slug in PLANS:
        return str(slug)
    log.error("price %s of Stripe belongs to no plan of this site", price.id)
    return None


def _purchase(session: Any) -> Purchase | None:
    """Return the top-up that a Checkout session sold, or None: another kind of session, or not paid yet."""
    about = session.metadata.to_dict() if session.metadata else {}
    if session.mode != "payment" or session.payment_status == "unpaid" or "top_up" not in about:
        return None
    return Purchase(
        key=f"stripe:{session.payment_intent or session.id}",
        meter=about["meter"],
        amount=int(about["amount"]),
        valid_days=int(about["valid_days"]),
        name=about["name"],
        at=datetime.fromtimestamp(session.created, UTC),
    )
