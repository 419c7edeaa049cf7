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

from apps.jobs.consumers import JobConsumer  # noqa: E402  # models can be imported only once Django is set up

websocket_urlpatterns = [path("ws/w/<slug:slug>/jobs/", JobConsumer.as_asgi(), name="ws-jobs")]
application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
