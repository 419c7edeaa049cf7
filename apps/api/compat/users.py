"""ElevenLabs' user and subscription: the member behind the key, and the plan and ledger of the workspace.

Their characters are our seconds of conversion.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid5

from apps.accounts.keys import Caller
from apps.api.auth import ApiRequest
from apps.api.compat.door import call
from apps.api.compat.lookup import answer
from apps.billing.models import Subscription
from apps.billing.plans import CURRENCY
from apps.billing.services.ledger import balance
from apps.billing.services.subscriptions import subscription_of
from apps.voices.models import VoiceModel

NO_LIMIT = 2**31 - 1  # their numbers have no word for “any amount”
_MONTH = "monthly_period"


@call("viewer")
def detail(request: ApiRequest) -> Any:
    """Answer the member who made the key, with the workspace's subscription."""
    caller = request.caller
    user = caller.user
    return answer(
        {
            "user_id": str(uuid5(caller.workspace.code, str(user.pk))),  # opaque, and the same each time
            "workspace_id": str(caller.workspace.code),
            "subscription": _subscription(caller),
            "is_new_user": False,
            "can_use_delayed_payment_methods": False,
            "is_onboarding_completed": True,
            "is_onboarding_checklist_completed": True,
            "first_name": user.name or None,
            "is_api_key_hashed": True,
            "xi_api_key_preview": caller.key.start,
            "created_at": int(user.date_joined.timestamp()),
            "seat_type": "workspace_admin" if caller.membership.may("admin") else "workspace_member",
        }
    )


@call("viewer")
def subscription(request: ApiRequest) -> Any:
    """Answer the workspace's subscription."""
    return answer({**_subscription(request.caller), "open_invoices": [], "has_open_invoices": False})


def _subscription(caller: Caller) -> dict[str, Any]:
    workspace = caller.workspace
    row, left = subscription_of(workspace), balance(workspace, "convert_seconds")
    trained = workspace.voices.filter(models__active=True, models__kind=VoiceModel.Kind.TRAINED).distinct().count()
    voices = NO_LIMIT if workspace.voice_limit is None else workspace.voice_limit
    used = left.used + left.reserved
    return {
        "tier": row.effective().slug,
        "character_count": used,
        "character_limit": NO_LIMIT if left.left is None else used + left.left,
        "max_credit_limit_extension": 0,
        "can_extend_character_limit": False,
        "allowed_to_extend_character_limit": False,
        "next_character_count_reset_unix": int(left.period.end.timestamp()),
        "voice_slots_used": workspace.voices.count(),
        "professional_voice_slots_used": trained,
        "professional_voice_slots_used_in_workspace": trained,
        "voice_limit": voices,
        "voice_add_edit_counter": 0,
        "professional_voice_limit": voices,
        "can_extend_voice_limit": False,
        "can_use_instant_voice_cloning": True,
        "can_use_professional_voice_cloning": True,
        "currency": CURRENCY,
        "current_overage": {"amount": "0", "currency": CURRENCY},
        "status": _status(row),
        "billing_period": _MONTH,
        "character_refresh_period": _MONTH,
    }


def _status(row: Subscription) -> str:
    if row.status in (Subscription.Status.TRIALING, Subscription.Status.ACTIVE, Subscription.Status.PAST_DUE):
        return str(row.status)
    return "active" if row.effective().price is None else "free"
