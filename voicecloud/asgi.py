"""HTTP and the WebSocket route."""

from __future__ import annotations

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voicecloud.settings")
http = get_asgi_application()

from django.conf import settings  # noqa: E402  # as the next

from apps.jobs.consumers import JobConsumer  # noqa: E402  # models can be imported only once Django is set up
from voicecloud.limits import BodyLimit  # noqa: E402

websocket_urlpatterns = [path("ws/w/<slug:slug>/jobs/", JobConsumer.as_asgi(), name="ws-jobs")]
application = ProtocolTypeRouter(
    {
        "http": BodyLimit(http, workspace=settings.REQUEST_MAX_BYTES, other=2 * settings.DATA_UPLOAD_MAX_MEMORY_SIZE),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
