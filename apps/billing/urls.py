"""Addresses of plans, use and money, below /w/<slug>/."""

from __future__ import annotations

from django.urls import URLPattern, path

from apps.billing.views import money, plans, usage

app_name = "billing"
urlpatterns: list[URLPattern] = [
    path("billing/", plans.plan, name="plan"),
    path("billing/usage/", usage.usage, name="usage"),
    path("billing/invoices/", money.invoices, name="invoices"),
    path("billing/checkout/", money.checkout, name="checkout"),
    path("billing/top-up/", money.top_up, name="top-up"),
    path("billing/portal/", money.portal, name="portal"),
    path("billing/change/", money.change, name="change"),
    path("billing/cancel/", money.cancel, name="cancel"),
    path("billing/resume/", money.resume, name="resume"),
    path("billing/done/", money.done, name="done"),
]
