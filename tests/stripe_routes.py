"""The methods of Stripe's API that the site calls: each with the type of its parameters in the ``stripe`` package."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stripe import params
from stripe.params import billing_portal, checkout

from tests.stripe_life import DAY, Life, session_totals
from tests.stripe_rows import LIVE, Json
from tests.stripe_validation import Invalid

Handler = Callable[[Life, Json, str], Json]


class Missing(Invalid):
    """An object that does not exist (404)."""


@dataclass(frozen=True)
class Route:
    """One method; the ``{id}`` in its path is handed to the handler, or an empty text."""

    method: str
    path: re.Pattern[str]
    parameters: type[Any] | None
    handler: Handler


def find(rows: Life, code: str, kind: str, param: str = "id") -> Json:
    """Return an object. Raises Missing."""
    row = rows.get(code, kind)
    if row is None:
        raise Missing(f"No such {kind}: '{code}'", param=param, code="resource_missing")
    return row


def _listed(rows: Life, kind: str, given: Json, url: str, keep: Callable[[Json], bool] = lambda row: True) -> Json:
    """Return one page of a list, the newest first."""
    if "customer" in given:
        find(rows, given["customer"], "customer", "customer")
    found = [row for row in rows.all(kind) if keep(row)]
    limit = given.get("limit", 10)
    if not 1 <= limit <= 100:
        raise Invalid("Invalid integer: limit must be between 1 and 100.", param="limit")
    if "starting_after" in given:
        codes = [row["id"] for row in found]
        if given["starting_after"] not in codes:
            raise Invalid(f"No such {kind}: '{given['starting_after']}'", param="starting_after")
        found = found[codes.index(given["starting_after"]) + 1 :]
    page = found[:limit]
    return {"object": "list", "data": page, "has_more": len(found) > limit, "url": url}


def _same(given: Json, **names: str) -> Callable[[Json], bool]:
    """Return whether a row has the given values; ``names`` says under which name the row keeps them."""
    wanted = {names[name]: given[name] for name in names if name in given}
    return lambda row: all(row.get(name) == value for name, value in wanted.items())


# --- customers, products, prices ------------------------------------------------------------------------------------
def create_customer(rows: Life, given: Json, code: str) -> Json:
    row = rows.make(
        "customer",
        email=given.get("email"),
        name=given.get("name"),
        metadata=given.get("metadata") or {},
        discount=None,
        shipping=None,
    )
    rows.emit("customer.created", row)
    return row


def list_customers(rows: Life, given: Json, code: str) -> Json:
    return _listed(rows, "customer", given, "/v1/customers", _same(given, email="email"))


def retrieve_customer(rows: Life, given: Json, code: str) -> Json:
    if rows.get(code, "deleted_customer"):
        return _deleted(code)
    return find(rows, code, "customer")


def delete_customer(rows: Life, given: Json, code: str) -> Json:
    row = find(rows, code, "customer")
    for subscription in rows.all("subscription", customer=code):
        if subscription["status"] in LIVE:
            rows.end(subscription)
    rows.emit("customer.deleted", row)
    rows.by_id[code] = {"id": code, "object": "deleted_customer", "deleted": True}
    return _deleted(code)


def _deleted(code: str) -> Json:
    return {"id": code, "object": "customer", "deleted": True}


def create_product(rows: Life, given: Json, code: str) -> Json:
    if "id" in given and given["id"] in rows.by_id:
        raise Invalid("Product already exists.", param="id", code="resource_already_exists")
    row = rows.make(
        "product",
        name=given["name"],
        description=given.get("description"),
        metadata=given.get("metadata") or {},
        default_price=None,
        package_dimensions=None,
        tax_code=given.get("tax_code"),
        updated=rows.now,
    )
    if "id" in given:
        del rows.by_id[row["id"]]
        row["id"] = given["id"]
        rows.by_id[row["id"]] = row
    rows.emit("product.created", row)
    return row


def retrieve_product(rows: Life, given: Json, code: str) -> Json:
    return find(rows, code, "product")


def update_product(rows: Life, given: Json, code: str) -> Json:
    row = find(rows, code, "product")
    row.update({name: value for name, value in given.items() if name in ("name", "description", "active", "tax_code")})
    row["metadata"] |= given.get("metadata") or {}
    rows.emit("product.updated", row)
    return row


def create_price(rows: Life, given: Json, code: str) -> Json:
    if "product" not in given:
        raise Invalid("Missing required param: product.", param="product", code="parameter_missing")
    find(rows, given["product"], "product", "product")
    key = given.get("lookup_key")
    for other in rows.all("price", lookup_key=key) if key else ():
        if not given.get("transfer_lookup_key"):
            raise Invalid(f"A price ({other['id']}) already uses that lookup key.", param="lookup_key")
        other["lookup_key"] = None
    recurring = given.get("recurring")
    row = rows.make(
        "price",
        product=given["product"],
        currency=given["currency"],
        unit_amount=given["unit_amount"],
        unit_amount_decimal=str(given["unit_amount"]),
        lookup_key=key,
        metadata=given.get("metadata") or {},
        tax_behavior=given.get("tax_behavior", "unspecified"),
        type="recurring" if recurring else "one_time",
        recurring={**recurring, "interval_count": 1, "meter": None, "usage_type": "licensed"} if recurring else None,
        custom_unit_amount=None,
        transform_quantity=None,
    )
    rows.emit("price.created", row)
    return row


def retrieve_price(rows: Life, given: Json, code: str) -> Json:
    return find(rows, code, "price")


def list_prices(rows: Life, given: Json, code: str) -> Json:
    if len(given.get("lookup_keys", ())) > 10:
        raise Invalid("You may only specify up to 10 lookup keys.", param="lookup_keys")
    same = _same(given, active="active", product="product", type="type")
    keys = given.get("lookup_keys")
    return _listed(
        rows, "price", given, "/v1/prices", lambda row: same(row) and (keys is None or row["lookup_key"] in keys)
    )


# --- Checkout and the portal ----------------------------------------------------------------------------------------
def create_session(rows: Life, given: Json, code: str) -> Json:
    _check_session(rows, given)
    items, mode = given["line_items"], given["mode"]
    total, currency = session_totals(rows, items)
    about = given.get("subscription_data" if mode == "subscription" else "payment_intent_data", {})
    row = rows.make(
        "checkout.session",
        mode=mode,
        customer=given["customer"],
        client_reference_id=given.get("client_reference_id"),
        metadata=given.get("metadata") or {},
        success_url=given["success_url"],
        cancel_url=given.get("cancel_url"),
        amount_subtotal=total,
        amount_total=total,
        currency=currency,
        payment_intent=None,
        expires_at=given.get("expires_at", rows.now + DAY),
        allow_promotion_codes=given.get("allow_promotion_codes"),
        after_expiration=None,
        consent=None,
        consent_collection=None,
        shipping_address_collection=None,
        shipping_cost=None,
        currency_conversion=None,
        collected_information=None,
        permissions=None,
        ui_mode="hosted_page",
    )
    row["automatic_tax"]["enabled"] = given.get("automatic_tax", {}).get("enabled", False)
    row["url"] = f"{rows.base}/pay/{row['id']}"
    row["_terms"] = {
        "prices": [item["price"] for item in items],
        "trial_days": about.get("trial_period_days"),
        "metadata": about.get("metadata", {}),
        "invoice": given.get("invoice_creation", {}).get("enabled", False),
    }
    return row


def _check_session(rows: Life, given: Json) -> None:
    """Refuse what the types allow and Stripe does not."""
    mode = given.get("mode")
    for name in ("mode", "line_items", "success_url", "customer"):
        if not given.get(name):
            raise Invalid(f"Missing required param: {name}.", param=name, code="parameter_missing")
    find(rows, given["customer"], "customer", "customer")
    for number, item in enumerate(given["line_items"]):
        price = find(rows, item.get("price", ""), "price", f"line_items[{number}][price]")
        if not price["active"]:
            raise Invalid("The price specified is inactive.", param=f"line_items[{number}][price]")
        if (price["type"] == "recurring") != (mode == "subscription"):
            raise Invalid(f"You cannot use this price in `{mode}` mode.", param=f"line_items[{number}][price]")
        if "quantity" not in item:
            raise Invalid("Quantity is required.", param=f"line_items[{number}][quantity]", code="parameter_missing")
    other = "payment" if mode == "subscription" else "subscription"
    for name, only in (
        ("subscription_data", "subscription"),
        ("payment_intent_data", "payment"),
        ("invoice_creation", "payment"),
        ("payment_method_collection", "subscription"),
    ):
        if name in given and only == other:
            raise Invalid(f"You can not pass `{name}` in `{mode}` mode.", param=name)
    if given.get("subscription_data", {}).get("trial_period_days", 1) < 1:
        raise Invalid("The minimum number of trial days is 1.", param="subscription_data[trial_period_days]")
    if given.get("automatic_tax", {}).get("enabled") and given.get("customer_update", {}).get("address") != "auto":
        raise Invalid(
            "Automatic tax calculation in Checkout requires a valid address on the Customer, or "
            "customer_update[address] set to auto.",
            code="customer_tax_location_invalid",
        )


def retrieve_session(rows: Life, given: Json, code: str) -> Json:
    return find(rows, code, "checkout.session")


def list_sessions(rows: Life, given: Json, code: str) -> Json:
    same = _same(
        given, customer="customer", status="status", subscription="subscription", payment_intent="payment_intent"
    )
    return _listed(rows, "checkout.session", given, "/v1/checkout/sessions", same)


def expire_session(rows: Life, given: Json, code: str) -> Json:
    row = find(rows, code, "checkout.session")
    if row["status"] != "open":
        raise Invalid('Only Checkout Sessions with a status in ["open"] can be expired.')
    rows.expire(row)
    return row


def create_portal(rows: Life, given: Json, code: str) -> Json:
    if "customer" not in given:
        raise Invalid("Missing required param: customer.", param="customer", code="parameter_missing")
    find(rows, given["customer"], "customer", "customer")
    row = rows.make("billing_portal.session", customer=given["customer"], return_url=given.get("return_url"), flow=None)
    row["url"] = f"{rows.base}/portal/{row['id']}"
    return row


# --- subscriptions --------------------------------------------------------------------------------------------------
def retrieve_subscription(rows: Life, given: Json, code: str) -> Json:
    return find(rows, code, "subscription")


def update_subscription(rows: Life, given: Json, code: str) -> Json:
    row = find(rows, code, "subscription")
    rows.change(row, given)
    return row


def cancel_subscription(rows: Life, given: Json, code: str) -> Json:
    row = find(rows, code, "subscription")
    if row["status"] not in LIVE:
        raise Missing(f"No such subscription: '{code}'", param="id", code="resource_missing")
    rows.end(row)
    return row


def list_subscriptions(rows: Life, given: Json, code: str) -> Json:
    status, same = given.get("status"), _same(given, customer="customer")

    def keep(row: Json) -> bool:
        wanted = row["status"] != "canceled" if status is None else status in ("all", row["status"])
        return same(row) and wanted

    return _listed(rows, "subscription", given, "/v1/subscriptions", keep)


def create_schedule(rows: Life, given: Json, code: str) -> Json:
    if set(given) - {"expand"} != {"from_subscription"}:
        raise Invalid("With from_subscription no other parameter can be set.", param="from_subscription")
    return rows.schedule(find(rows, given["from_subscription"], "subscription", "from_subscription"))


def retrieve_schedule(rows: Life, given: Json, code: str) -> Json:
    return find(rows, code, "subscription_schedule")


def update_schedule(rows: Life, given: Json, code: str) -> Json:
    row = find(rows, code, "subscription_schedule")
    rows.reschedule(row, given)
    return row


def release_schedule(rows: Life, given: Json, code: str) -> Json:
    row = find(rows, code, "subscription_schedule")
    rows.release(row)
    return row


def list_invoices(rows: Life, given: Json, code: str) -> Json:
    same = _same(given, customer="customer", status="status", subscription="_subscription")
    return _listed(rows, "invoice", given, "/v1/invoices", same)


def retrieve_event(rows: Life, given: Json, code: str) -> Json:
    return find(rows, code, "event")


def list_events(rows: Life, given: Json, code: str) -> Json:
    return _listed(rows, "event", given, "/v1/events", _same(given, type="type"))


def _route(method: str, path: str, parameters: type[Any] | None, handler: Handler) -> Route:
    return Route(method, re.compile("/v1/" + path.replace("{id}", r"(?P<code>[\w-]+)")), parameters, handler)


ROUTES = (
    _route("POST", "customers", params.CustomerCreateParams, create_customer),
    _route("GET", "customers", params.CustomerListParams, list_customers),
    _route("GET", "customers/{id}", params.CustomerRetrieveParams, retrieve_customer),
    _route("DELETE", "customers/{id}", params.CustomerDeleteParams, delete_customer),
    _route("POST", "products", params.ProductCreateParams, create_product),
    _route("GET", "products/{id}", params.ProductRetrieveParams, retrieve_product),
    _route("POST", "products/{id}", params.ProductUpdateParams, update_product),
    _route("POST", "prices", params.PriceCreateParams, create_price),
    _route("GET", "prices", params.PriceListParams, list_prices),
    _route("GET", "prices/{id}", params.PriceRetrieveParams, retrieve_price),
    _route("POST", "checkout/sessions", checkout.SessionCreateParams, create_session),
    _route("GET", "checkout/sessions", checkout.SessionListParams, list_sessions),
    _route("GET", "checkout/sessions/{id}", checkout.SessionRetrieveParams, retrieve_session),
    _route("POST", "checkout/sessions/{id}/expire", checkout.SessionExpireParams, expire_session),
    _route("POST", "billing_portal/sessions", billing_portal.SessionCreateParams, create_portal),
    _route("GET", "subscriptions", params.SubscriptionListParams, list_subscriptions),
    _route("GET", "subscriptions/{id}", params.SubscriptionRetrieveParams, retrieve_subscription),
    _route("POST", "subscriptions/{id}", params.SubscriptionUpdateParams, update_subscription),
    _route("DELETE", "subscriptions/{id}", params.SubscriptionCancelParams, cancel_subscription),
    _route("POST", "subscription_schedules", params.SubscriptionScheduleCreateParams, create_schedule),
    _route("GET", "subscription_schedules/{id}", params.SubscriptionScheduleRetrieveParams, retrieve_schedule),
    _route("POST", "subscription_schedules/{id}", params.SubscriptionScheduleUpdateParams, update_schedule),
    _route("POST", "subscription_schedules/{id}/release", params.SubscriptionScheduleReleaseParams, release_schedule),
    _route("GET", "invoices", params.InvoiceListParams, list_invoices),
    _route("GET", "events", params.EventListParams, list_events),
    _route("GET", "events/{id}", params.EventRetrieveParams, retrieve_event),
)


def route_of(method: str, path: str) -> tuple[Route, str]:
    """Return the method at an address, with the id in it. Raises Missing."""
    for route in ROUTES:
        found = route.path.fullmatch(path)
        if found and route.method == method:
            return route, found.groupdict().get("code", "")
    raise Missing(f"Unrecognized request URL ({method}: {path}).")
