from __future__ import annotations

from django.urls import URLPattern, path

from apps.api import key_views

app_name = "api"
urlpatterns: list[URLPattern] = [
    path("keys/", key_views.key_list, name="keys"),
    path("keys/new/", key_views.new, name="key-new"),
    path("keys/<uuid:code>/rotate/", key_views.rotate, name="key-rotate"),
    path("keys/<uuid:code>/revoke/", key_views.revoke, name="key-revoke"),
]
