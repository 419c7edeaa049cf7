"""The life of subscriptions and payments in a local Stripe: what a purchase, a change and the passing of time do."""

from __future__ import annotations

from typing import Any

from tests.stripe_rows import LIVE, Json, Rows, next_period
from tests.stripe_schedules import Schedules
from tests.stripe_validation import Invalid

DAY = 86_400
GIVES_UP_AFTER = 21 * DAY  # as Stripe's own settings have it at first: then an unpaid subscription is cancelled
UNUSED = dict.fromkeys(
    (
        "pause_collection",
        "pending_update",
        "pending_invoice_item_interval",
        "next_pending_invoice_item_invoice",
        "transfer_data",
        "billing_thresholds",
        "billing_schedules",
    )
)


class Declined(Exception):
    """A payment that the bank refused (402)."""


class Life(Schedules):
    """Rows that change by themselves."""

    # --- paying ---------------------------------------------------------------------------------------------------
    def pay(self, code: str, *, card: str = "ok") -> Json:
        """Fill in the pay page of a Checkout session. Raises Declined when the card is refused; it stays open then."""
        session = self.by_id[code]
        if session["status"] != "open":
            raise Invalid(f"This Checkout Session is {session['status']}.")
        if card != "ok":
            raise Declined("Your card was declined.")
        if session["mode"] == "subscription":
            self._complete_subscription(session)
        else:
            self._complete_payment(session)
        session.update(status="complete", url=None)
        self.emit("checkout.session.completed", session)
        return session

    def _complete_subscription(self, session: Json) -> None:
        terms = session["_terms"]
        subscription = self.subscribe(
            session["customer"], terms["prices"][0], trial_days=terms["trial_days"], metadata=terms["metadata"]
        )
        subscription["automatic_tax"]["enabled"] = session["automatic_tax"]["enabled"]
        paid = "no_payment_required" if subscription["status"] == "trialing" else "paid"
        session.update(subscription=subscription["id"], invoice=subscription["latest_invoice"], payment_status=paid)

    def _complete_payment(self, session: Json) -> None:
        amount = session["amount_total"]
        intent = self.make(
            "payment_intent",
            amount=amount,
            amount_received=amount,
            currency=session["currency"],
            customer=session["customer"],
            metadata=session["_terms"]["metadata"],
            status="succeeded",
            client_secret=None,
            last_payment_error=None,
            next_action=None,
            processing=None,
            canceled_at=None,
        )
        session.update(payment_intent=intent["id"], payment_status="paid")
        self.emit("payment_intent.succeeded", intent)
        if session["_terms"]["invoice"]:
            invoice = self._invoice(session["customer"], None, amount, "manual")
            session["invoice"] = invoice["id"]
            self._mark_paid(invoice)

    def subscribe(
        self, customer: str, price: str, *, trial_days: int | None = None, metadata: Json | None = None
    ) -> Json:
        """Begin a subscription that is paid, or in trial."""
        now = self.now
        trial_end = now + trial_days * DAY if trial_days else None
        anchor = trial_end or now
        row = self.make(
            "subscription",
            customer=customer,
            status="trialing" if trial_days else "active",
            billing_cycle_anchor=anchor,
            billing_cycle_anchor_config=None,
            start_date=now,
            trial_start=now if trial_days else None,
            trial_end=trial_end,
            cancel_at=None,
            cancel_at_period_end=False,
            canceled_at=None,
            ended_at=None,
            **UNUSED,
            metadata=metadata or {},
            items={"object": "list", "data": [], "has_more": False, "url": "/v1/subscription_items"},
        )
        item = self.make(
            "subscription_item",
            subscription=row["id"],
            price=self.by_id[price],
            plan=None,
            billing_thresholds=None,
            current_period_start=now,
            current_period_end=next_period(anchor, now),
        )
        row["items"]["data"] = [item]
        self.emit("customer.subscription.created", row)
        invoice = self._invoice(customer, row, 0 if trial_days else self._price(row), "subscription_create")
        self._mark_paid(invoice)
        return row

    @staticmethod
    def _price(row: Json) -> int:
        return int(row["items"]["data"][0]["price"]["unit_amount"])

    def _invoice(self, customer: str, subscription: Json | None, amount: int, reason: str) -> Json:
        details = {"metadata": {}, "subscription": subscription["id"]} if subscription else None
        invoice = self.make(
            "invoice",
            customer=customer,
            amount_due=amount,
            amount_remaining=amount,
            subtotal=amount,
            total=amount,
            billing_reason=reason,
            number=f"DEMO-{self.made:04d}",
            status="open",
            due_date=None,
            next_payment_attempt=None,
            from_invoice=None,
            last_finalization_error=None,
            parent={"quote_details": None, "subscription_details": details, "type": "subscription_details"},
        )
        invoice["status_transitions"]["finalized_at"] = self.now
        invoice["hosted_invoice_url"] = f"{self.base}/invoice/{invoice['id']}"
        invoice["invoice_pdf"] = f"{self.base}/invoice/{invoice['id']}?pdf"
        if subscription is not None:
            subscription["latest_invoice"] = invoice["id"]
            invoice["_subscription"] = subscription["id"]
        self.emit("invoice.created", invoice)
        return invoice

    base = ""  # the address of this server

    def _mark_paid(self, invoice: Json) -> None:
        invoice.update(status="paid", amount_paid=invoice["amount_due"], amount_remaining=0, attempted=True)
        invoice["status_transitions"]["paid_at"] = self.now
        self.emit("invoice.paid", invoice)
        self.emit("invoice.payment_succeeded", invoice)

    def fail_payments(self, customer: str) -> None:
        """Make the customer's card refuse from now on."""
        self.failing.append(customer)

    def pay_open(self, customer: str) -> None:
        """Give the customer a card that works; what is open is paid."""
        self.failing = [code for code in self.failing if code != customer]
        for invoice in reversed(list(self.all("invoice", customer=customer, status="open"))):
            self._mark_paid(invoice)
        for row in self.all("subscription", customer=customer, status="past_due"):
            row["status"] = "active"
            self.emit("customer.subscription.updated", row)

    # --- changes ----------------------------------------------------------------------------------------------------
    def change(self, row: Json, given: Json) -> None:
        """Change a subscription as its update method does."""
        if row["status"] not in LIVE:
            raise Invalid("A canceled subscription can only update its cancellation_details and metadata.")
        if row["schedule"] and {"cancel_at_period_end", "cancel_at"} & set(given):
            raise Invalid(
                f"The subscription is managed by the subscription schedule `{row['schedule']}`, and updating any "
                "cancelation behavior directly is not allowed. Please update the schedule instead."
            )
        item = row["items"]["data"][0]
        wanted = given.get("items", [{}])[0]
        if "items" in given and wanted.get("id") != item["id"]:
            raise Invalid(f"No such subscription item: '{wanted.get('id')}'", param="items[0][id]")
        price = self.by_id.get(wanted["price"]) if "price" in wanted else None
        if "price" in wanted and price is None:
            raise Invalid(f"No such price: '{wanted['price']}'", param="items[0][price]", code="resource_missing")
        ends_trial = given.get("trial_end") == "now" and row["status"] == "trialing"
        begins_anew = ends_trial or given.get("billing_cycle_anchor") == {"type": "now"}
        if begins_anew and row["status"] == "trialing" and not ends_trial:
            raise Invalid("The trial has to end for that.", param="billing_cycle_anchor")
        if price is not None or begins_anew:
            self._charge_for(row, item, price or item["price"], given, begins_anew)
        if "cancel_at_period_end" in given:
            row["cancel_at_period_end"] = given["cancel_at_period_end"]
            row["cancel_at"] = item["current_period_end"] if given["cancel_at_period_end"] else None
            row["canceled_at"] = self.now if given["cancel_at_period_end"] else None
        row["metadata"] |= given.get("metadata") or {}
        self.emit("customer.subscription.updated", row)

    def _charge_for(self, row: Json, item: Json, price: Json, given: Json, begins_anew: bool) -> None:
        """Charge a change; a month that ``begins_anew`` in full, less what is left of the one that was paid."""
        now, amount, is_trial = self.now, 0, row["status"] == "trialing"
        left = (item["current_period_end"] - now) / (item["current_period_end"] - item["current_period_start"])
        prorates = given.get("proration_behavior") == "always_invoice" and not is_trial
        if begins_anew:
            amount = price["unit_amount"] - (round(item["price"]["unit_amount"] * left) if prorates else 0)
        elif prorates:
            amount = round((price["unit_amount"] - item["price"]["unit_amount"]) * left)
        amount = max(0, amount)
        if amount and row["customer"] in self.failing and given.get("payment_behavior") == "error_if_incomplete":
            raise Declined("Your card was declined.")
        item["price"] = price
        if begins_anew:
            row["billing_cycle_anchor"] = now
            item.update(current_period_start=now, current_period_end=next_period(now, now))
            row["cancel_at"] = item["current_period_end"] if row["cancel_at_period_end"] else None
            if is_trial:
                row.update(status="active", trial_end=now)
        if amount:
            self._collect(row, amount, "subscription_update")

    def _collect(self, row: Json, amount: int, reason: str) -> None:
        invoice = self._invoice(row["customer"], row, amount, reason)
        if row["customer"] in self.failing:
            invoice.update(attempted=True, attempt_count=1)
            row["status"] = "past_due"
            self.emit("invoice.payment_failed", invoice)
        else:
            self._mark_paid(invoice)

    def end(self, row: Json) -> None:
        """Cancel a subscription now."""
        row.update(status="canceled", ended_at=self.now, canceled_at=row["canceled_at"] or self.now)
        schedule = self.get(row["schedule"] or "", "subscription_schedule")
        if schedule is not None:
            schedule.update(status="canceled", canceled_at=self.now, current_phase=None)
            row["schedule"] = None
            self.emit("subscription_schedule.canceled", schedule)
        self.emit("customer.subscription.deleted", row)

    # --- time -------------------------------------------------------------------------------------------------------
    def advance(self, *, days: float = 0, seconds: int = 0) -> None:
        """Put the clock on; all that falls due meanwhile happens in its order and at its time."""
        target = self.ahead + int(days * DAY) + seconds
        began = self.now - self.ahead
        while True:
            due = [(moment, row) for row in self.all("subscription") if (moment := self._due(row)) <= began + target]
            if not due:
                break
            moment, row = min(due, key=lambda pair: (pair[0], pair[1]["id"]))
            self.ahead = max(self.ahead, moment - began)
            self._fall_due(row, moment)
        self.ahead = target
        for session in self.all("checkout.session", status="open"):
            if session["expires_at"] <= self.now:
                self.expire(session)

    def expire(self, session: Json) -> None:
        """Close a Checkout session that nobody paid."""
        session.update(status="expired", url=None)
        self.emit("checkout.session.expired", session)

    def _unpaid_since(self, row: Json) -> int:
        return min(invoice["created"] for invoice in self.all("invoice", _subscription=row["id"], status="open"))

    def _due(self, row: Json) -> float:
        if row["status"] not in LIVE:
            return float("inf")
        end = row["items"]["data"][0]["current_period_end"]
        return min(end, self._unpaid_since(row) + GIVES_UP_AFTER) if row["status"] == "past_due" else end

    def _fall_due(self, row: Json, moment: int) -> None:
        item = row["items"]["data"][0]
        if moment < item["current_period_end"] or row["cancel_at_period_end"]:
            self.end(row)
            return
        if row["status"] == "trialing":
            row["status"] = "active"
        self._enter_phase(row, item, moment)
        start = item["current_period_end"]
        item.update(current_period_start=start, current_period_end=next_period(row["billing_cycle_anchor"], start))
        was = row["status"]
        self._collect(row, self._price(row), "subscription_cycle")
        if was == "past_due":
            row["status"] = was
        self.emit("customer.subscription.updated", row)


def session_totals(rows: Rows, items: list[Json]) -> tuple[int, str]:
    """Return what a Checkout session's items cost, and the currency."""
    prices: list[Any] = [rows.get(item.get("price", ""), "price") for item in items]
    total = sum(price["unit_amount"] * item.get("quantity", 1) for price, item in zip(prices, items, strict=True))
    return total, prices[0]["currency"]
