"""What is changed of a subscription at Stripe: its plan now or later, its end. Each is done, or all stays as it was."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from apps.billing import stripe
from apps.billing.models import Subscription
from apps.billing.plans import PLANS, Plan
from apps.billing.services.catalog import price_of
from apps.errors import Refused

if TYPE_CHECKING:
    from stripe.params import SubscriptionScheduleUpdateParams, SubscriptionUpdateParams

log = logging.getLogger(__name__)
TAKEN_BACK = "What was to come at the end of the month may have been taken back: look at the plan."


def update(row: Subscription, params: SubscriptionUpdateParams, what: str) -> None:
    """Change the subscription itself; ``what`` tells this change from another one of the same request."""
    # The row is as fresh as this request; the key only serves the client's own second try.
    key = stripe.intent("update", row.stripe_subscription, what, row.synced_at)
    with stripe.asking(stripe.UNKNOWN):
        stripe.client().v1.subscriptions.update(str(row.stripe_subscription), params, {"idempotency_key": key})


def let_go(row: Subscription, schedule: str = "") -> None:
    """Release the subscription from its schedule: under one, Stripe lets nobody cancel it."""
    code = schedule or row.stripe_schedule
    if code:
        key = stripe.intent("release", code, row.synced_at)
        with stripe.asking(stripe.UNKNOWN):
            stripe.client().v1.subscription_schedules.release(code, {}, {"idempotency_key": key})


def keep(row: Subscription) -> None:
    """Take back a coming change to a lower plan, or a cancellation."""
    let_go(row)
    if row.cancels_at is not None:
        update(row, {"cancel_at_period_end": False}, "keep")


def cancel(row: Subscription) -> None:
    """End the subscription when its paid period is over."""
    with _restored(row):
        let_go(row)
        update(row, {"cancel_at_period_end": True}, "cancel")


def change_now(row: Subscription, wanted: Plan, price: str) -> None:
    """Change the plan at once. A new month begins, is charged in full, less what is left of the paid one: so the
    allowance, which begins anew too, is paid for."""
    params: SubscriptionUpdateParams = {
        "items": [{"id": stripe.fetch(str(row.stripe_customer)).item, "price": price}],
        "proration_behavior": "always_invoice",
        "payment_behavior": "error_if_incomplete",  # a card that is declined changes nothing
        "cancel_at_period_end": False,
    }
    if row.status != Subscription.Status.TRIALING:
        params["billing_cycle_anchor"] = {"type": "now"}
    elif not wanted.trial_days:
        params["trial_end"] = "now"  # a trial is of its own plan; the month begins with its end
    with _restored(row, wanted):
        let_go(row)
        update(row, params, f"plan:{wanted.slug}")


def change_later(row: Subscription, wanted: Plan, price: str) -> None:
    """Put the subscription under a schedule: as it is until the period ends, then with the other price."""
    with _restored(row, wanted):
        keep(row)
        _schedule(row, price, "schedule")


def _schedule(row: Subscription, price: str, what: str, found: str = "") -> None:
    """Have the price change when the period ends, by the schedule ``found`` or by a new one."""
    schedules = stripe.client().v1.subscription_schedules
    with stripe.asking(stripe.UNKNOWN):
        if found:
            made = schedules.retrieve(found)
        else:
            key = stripe.intent(what, row.stripe_subscription, row.synced_at)
            made = schedules.create({"from_subscription": str(row.stripe_subscription)}, {"idempotency_key": key})
        phase: dict[str, Any] = made.phases[0].to_dict()
        item = phase["items"][0]
        terms, of_item = _terms(phase), _terms(item)
        now: dict[str, Any] = {
            "items": [{"price": _code(item["price"]), "quantity": 1, **of_item}],
            "start_date": phase["start_date"],
            "end_date": phase["end_date"],
        }
        then: dict[str, Any] = {
            "items": [{"price": price, "quantity": 1, **of_item}],
            "duration": {"interval": "month", "interval_count": 1},
            "proration_behavior": "none",
        }
        phases: Any = [now | terms, then | terms]  # the local Stripe of the tests knows their types
        params: SubscriptionScheduleUpdateParams = {"end_behavior": "release", "phases": phases}
        schedules.update(made.id, params, {"idempotency_key": stripe.intent("phases", made.id, price, row.synced_at)})


def _terms(thing: dict[str, Any]) -> dict[str, Any]:
    """Return the discounts and taxes of a phase, or of an item in one: what a phase does not name again, it loses."""
    terms: dict[str, Any] = {}
    if thing.get("discounts"):
        # The discount itself first: of its coupon a new one would be made, whose time begins anew.
        kinds = ("discount", "promotion_code", "coupon")
        terms["discounts"] = [
            next({kind: _code(one[kind])} for kind in kinds if one.get(kind)) for one in thing["discounts"]
        ]
    if thing.get("automatic_tax"):
        terms["automatic_tax"] = {"enabled": thing["automatic_tax"]["enabled"]}
    for name in ("default_tax_rates", "tax_rates"):
        if thing.get(name):
            terms[name] = [_code(rate) for rate in thing[name]]
    return terms


def _code(thing: Any) -> str:
    """Return the id of what Stripe names by it, or sends whole."""
    return str(thing["id"]) if isinstance(thing, dict) else str(thing)


@contextmanager
def _restored(row: Subscription, wanted: Plan | None = None) -> Iterator[None]:
    """Put back what was to come, which had to be let go of first, when what is done inside is refused."""
    try:
        yield
    except Refused as refusal:
        try:
            _put_back(row, wanted.slug if wanted else "")
        except Refused as second:
            log.error("what was to come for subscription %s is lost: %s", row.stripe_subscription, second.message)
            raise Refused(f"{refusal.message} {TAKEN_BACK}", status=refusal.status) from refusal
        raise


def _put_back(row: Subscription, wanted: str) -> None:
    if not row.next_plan and row.cancels_at is None:
        return
    facts = stripe.fetch(str(row.stripe_customer))
    if not facts.is_live or facts.plan != row.plan or (wanted and facts.next_plan == wanted):
        return  # it was done, and only the answer was lost
    if facts.cancels_at is not None or (row.next_plan and facts.next_plan == row.next_plan):
        return
    if row.next_plan in PLANS:
        coming = PLANS[row.next_plan]
        _schedule(row, price_of(coming.slug, coming.price or 0), "back", facts.schedule)
    elif row.cancels_at is not None:
        let_go(row, facts.schedule)
        update(row, {"cancel_at_period_end": True}, "back")
