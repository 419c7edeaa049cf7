"""The pages that a local Stripe shows people: where they pay, and the portal. Plain forms, no card numbers."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from tests.stripe_life import Declined
from tests.stripe_rows import LIVE, Json
from tests.stripe_validation import Invalid, decode

if TYPE_CHECKING:
    from tests.stripe_server import LocalStripe

Page = tuple[int, str, str]  # status, HTML, where to go instead
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 3rem auto; padding: 0 1rem; color: #1a1a1a;
background: #fff } button { font: inherit; padding: .6rem 1rem; margin: .25rem .5rem .25rem 0 }
.note { background: #fff3c4; padding: .5rem .75rem } .bad { background: #fde2e2; padding: .5rem .75rem }
"""


def _html(title: str, *parts: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width">'
        f"<style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        '<p class="note">This is a demo of a payment page. Nobody is charged, and no card is asked for.</p>'
        f"{''.join(parts)}</main></body></html>"
    )


def _button(name: str, value: str, label: str) -> str:
    return f'<form method="post"><button name="{name}" value="{value}">{escape(label)}</button></form>'


def _money(cents: int, currency: str) -> str:
    return f"{cents / 100:.2f} {currency.upper()}"


def page(stripe: LocalStripe, method: str, path: str, body: str) -> Page:
    """Return what a person gets at an address."""
    with stripe.lock:
        kind, _, code = path.strip("/").partition("/")
        row = stripe.by_id.get(code)
        if kind == "pay" and row is not None and row["object"] == "checkout.session":
            found = _pay(stripe, row, decode(body) if method == "POST" else {})
        elif kind == "portal" and row is not None and row["object"] == "billing_portal.session":
            found = _portal(stripe, row, decode(body) if method == "POST" else {})
        elif kind == "invoice" and row is not None and row["object"] == "invoice":
            found = 200, _html(f"Invoice {row['number']}", f"<p>{_money(row['total'], row['currency'])}</p>"), ""
        else:
            found = 404, _html("Not found"), ""
        stripe.save()
    return found


def _pay(stripe: LocalStripe, session: Json, given: Json) -> Page:
    said = ""
    if given.get("card") == "back":
        return 303, "", session["cancel_url"] or session["success_url"]
    if given:
        try:
            stripe.pay(session["id"], card=given.get("card", ""))
        except Declined as refusal:
            said = f'<p class="bad" role="alert">{escape(str(refusal))}</p>'
        except Invalid as refusal:
            return 409, _html("This page is closed", f"<p>{escape(refusal.message)}</p>"), ""
        else:
            return 303, "", session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"])
    if session["status"] != "open":
        return 410, _html("This page is closed", f"<p>It is {session['status']}.</p>"), ""
    names = ", ".join(stripe.by_id[stripe.by_id[price]["product"]]["name"] for price in session["_terms"]["prices"])
    days = session["_terms"]["trial_days"]
    trial = f"<p>The first {days} days cost nothing.</p>" if days else ""
    monthly = " a month" if session["mode"] == "subscription" else ""
    amount = f"<p><strong>{escape(names)}</strong>: {_money(session['amount_total'], session['currency'])}{monthly}</p>"
    buttons = (
        _button("card", "ok", "Pay with a card that works"),
        _button("card", "declined", "Pay with a card that is declined"),
        _button("card", "back", "Back"),
    )
    return 200, _html("Pay", said, amount, trial, *buttons), ""


def _portal(stripe: LocalStripe, session: Json, given: Json) -> Page:
    customer, said = session["customer"], ""
    live = [row for row in stripe.all("subscription", customer=customer) if row["status"] in LIVE]
    wish = given.get("do")
    try:
        if wish == "card":
            stripe.pay_open(customer)
        if wish == "month" and live:
            ends = min(row["items"]["data"][0]["current_period_end"] for row in live)
            stripe.advance(seconds=max(0, ends - stripe.now) + 60)
            live = [row for row in live if row["status"] in LIVE]
        for row in live if wish in ("cancel", "resume") else ():
            stripe.change(row, {"cancel_at_period_end": wish == "cancel"})
    except Invalid as refusal:
        said = f'<p class="bad" role="alert">{escape(refusal.message)}</p>'
    if wish == "back":
        return 303, "", session["return_url"] or "about:blank"
    rows = "".join(
        f"<li>{escape(row['items']['data'][0]['price']['lookup_key'] or row['id'])}: {row['status']}"
        f"{', ends with its period' if row['cancel_at_period_end'] else ''}</li>"
        for row in live
    )
    invoices = "".join(
        f'<li><a href="{row["hosted_invoice_url"]}">{row["number"]}</a> {_money(row["total"], row["currency"])} '
        f"{row['status']}</li>"
        for row in stripe.all("invoice", customer=customer)
    )
    buttons = (
        _button("do", "card", "Pay what is open with a card that works"),
        _button("do", "cancel", "Cancel at the end of the period"),
        _button("do", "resume", "Do not cancel"),
        _button("do", "month", "Let the paid month pass"),
        _button("do", "back", "Back to the site"),
    )
    lists = f"<h2>Subscription</h2><ul>{rows}</ul><h2>Invoices</h2><ul>{invoices}</ul>"
    return 200, _html("Your subscription", said, lists, *buttons), ""
