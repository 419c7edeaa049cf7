"""Every address of the site: each app's own, with /w/<slug>/... for all that a workspace owns."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("apps.pages.urls")),
    path("accounts/", include("allauth.urls")),
    path("", include("apps.accounts.urls")),
    path("w/<slug:slug>/", include("apps.jobs.urls")),
    path("w/<slug:slug>/", include("apps.voices.urls")),
    path("w/<slug:slug>/", include("apps.studio.urls")),
    path("admin/", admin.site.urls),
]
