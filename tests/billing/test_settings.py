"""Settings of Stripe are complete together or not at all, and nobody else is taken for it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.stack import ROOT
from voicecloud.checks import money

SOLD = {"STRIPE_SECRET_KEY": "sk_live_1", "STRIPE_WEBHOOK_SECRET": "whsec_1", "SITE_URL": "https://voice.example.com"}


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"STRIPE_SECRET_KEY": "", "STRIPE_WEBHOOK_SECRET": ""}, []),
        ({"STRIPE_SECRET_KEY": ""}, ["voicecloud.E018"]),
        ({"STRIPE_WEBHOOK_SECRET": ""}, ["voicecloud.E018"]),
        ({"STRIPE_API_BASE": "http://127.0.0.1:9", "SITE_URL": "http://127.0.0.1:8000"}, []),
        ({"STRIPE_API_BASE": "http://127.0.0.1:9"}, ["voicecloud.W018"]),
        ({"STRIPE_API_BASE": "https://stripe.example.com"}, ["voicecloud.E019", "voicecloud.W018"]),
        ({"STRIPE_API_BASE": "http://127.0.0.1.example.com"}, ["voicecloud.E019", "voicecloud.W018"]),
        ({"STRIPE_SECRET_KEY": "sk_test_1"}, ["voicecloud.W018"]),
        ({"STRIPE_SECRET_KEY": "sk_test_1", "SITE_URL": "http://127.0.0.1:8000"}, []),
        ({"DEFAULT_PLAN": "platinum"}, ["voicecloud.E021"]),
    ],
)
def test_what_does_not_fit_is_found(settings: Any, changed: dict[str, str], found: list[str]) -> None:
    for name, value in {**SOLD, **changed}.items():
        setattr(settings, name, value)
    assert [message.id for message in money(None)] == found


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, "'self'"),
        ({"STRIPE_SECRET_KEY": "sk_live_1"}, "'self' https://checkout.stripe.com https://billing.stripe.com"),
        ({"STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_API_BASE": "http://127.0.0.1:9/"}, "'self' http://127.0.0.1:9"),
    ],
)
def test_forms_may_lead_to_where_is_paid_and_nowhere_else(environment: dict[str, str], wanted: str) -> None:
    script = (
        "import django; django.setup(); from django.conf import settings as s;"
        "print(*s.CONTENT_SECURITY_POLICY['DIRECTIVES']['form-action']); print(s.DEFAULT_PLAN)"
    )
    own = {**os.environ, "DJANGO_SETTINGS_MODULE": "voicecloud.settings", **environment}
    done = subprocess.run([sys.executable, "-c", script], env=own, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [wanted, "free" if environment else "unlimited"], done.stderr
