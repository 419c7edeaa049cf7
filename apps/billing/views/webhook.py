"""Where Stripe tells of what happened. The signature is its only way in: no session, no cookie, no CSRF token."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from apps.billing.services import webhook
from apps.errors import Refused

LARGEST = 512 * 1024  # bytes; Stripe's events are far below


@csrf_exempt
@require_POST
def stripe(request: HttpRequest) -> HttpResponse:
    """Take one event: 200 also for one that is here already, 400 for what Stripe did not sign."""
    if not settings.STRIPE_WEBHOOK_SECRET:
        raise Http404
    try:
        length = int(request.headers.get("Content-Length") or 0)
        if length > LARGEST:
            return HttpResponse("Too large.\n", status=413, content_type="text/plain")
        webhook.take(request.read(LARGEST + 1), request.headers.get("Stripe-Signature", ""))
    except (Refused, ValueError):
        return HttpResponse("This is no event of Stripe's.\n", status=400, content_type="text/plain")
    return HttpResponse("Taken.\n", content_type="text/plain")
