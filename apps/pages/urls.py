from __future__ import annotations

from django.urls import path

from apps.pages import exports, health, metrics, views

app_name = "pages"
urlpatterns = [
    path("", views.home, name="home"),
    path("pricing/", views.pricing, name="pricing"),
    path("dashboard/", views.dashboard, name="dashboard"),
    path("settings/", views.settings, name="settings"),
    path("w/<slug:slug>/", views.workspace, name="workspace"),
    path("w/<slug:slug>/export/", exports.export, name="export"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
]
