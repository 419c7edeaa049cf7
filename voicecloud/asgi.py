"""HTTP and the WebSocket route."""

from __future__ import annotations

import os

import django
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voicecloud.settings")
django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402  # as the next

from apps.jobs.consumers import JobConsumer  # noqa: E402  # models can be imported only once Django is set up
from voicecloud.handler import Handler  # noqa: E402
from voicecloud.limits import BodyLimit  # noqa: E402
from voicecloud.static import Static  # noqa: E402

websocket_urlpatterns = [path("ws/w/<slug:slug>/jobs/", JobConsumer.as_asgi(), name="ws-jobs")]
http = BodyLimit(Handler(), workspace=settings.REQUEST_MAX_BYTES, other=2 * settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
application = ProtocolTypeRouter(
    {
        "http": Static(http),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
