"""Addresses of plans and use, below /w/<slug>/billing/."""

from __future__ import annotations

from django.urls import URLPattern, path

from apps.billing.views import plans, usage

app_name = "billing"
urlpatterns: list[URLPattern] = [
    path("", plans.plan, name="plan"),
    path("usage/", usage.usage, name="usage"),
]
