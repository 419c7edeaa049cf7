from __future__ import annotations

from django.urls import URLPattern, path

from apps.webhooks import views

app_name = "webhooks"
urlpatterns: list[URLPattern] = [
    path("webhooks/", views.endpoint_list, name="list"),
    path("webhooks/new/", views.new, name="new"),
    path("webhooks/<uuid:code>/", views.detail, name="detail"),
    path("webhooks/<uuid:code>/edit/", views.edit, name="edit"),
    path("webhooks/<uuid:code>/enable/", views.enable, name="enable"),
    path("webhooks/<uuid:code>/disable/", views.disable, name="disable"),
    path("webhooks/<uuid:code>/delete/", views.delete, name="delete"),
    path("webhooks/<uuid:code>/secret/", views.secret, name="secret"),
    path("webhooks/<uuid:code>/rotate/", views.rotate, name="rotate"),
    path("webhooks/<uuid:code>/test/", views.test, name="test"),
    path("webhooks/<uuid:code>/replay/", views.replay_failed, name="replay-failed"),
    path("webhooks/deliveries/<uuid:code>/", views.delivery, name="delivery"),
    path("webhooks/deliveries/<uuid:code>/replay/", views.replay, name="replay"),
]
