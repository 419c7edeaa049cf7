"""Addresses of the API, below /api/v1/."""

from __future__ import annotations

from django.urls import path

from apps.api import documentation
from apps.api.site import api

app_name = "rest"
urlpatterns = [
    path("docs", documentation.docs, name="docs"),
    path("openapi.json", documentation.openapi, name="openapi"),
    path("", api.urls),
]
