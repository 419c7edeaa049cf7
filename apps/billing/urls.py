"""Addresses of plans and use, below /w/<slug>/."""

from __future__ import annotations

from django.urls import URLPattern, path

from apps.billing.views import plans, usage

app_name = "billing"
urlpatterns: list[URLPattern] = [
    path("billing/", plans.plan, name="plan"),
    path("billing/usage/", usage.usage, name="usage"),
]
