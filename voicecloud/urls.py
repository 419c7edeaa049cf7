"""Every address of the site: each app's own, with /w/<slug>/... for all that a workspace owns."""

from __future__ import annotations

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from apps.billing.views import webhook

# Staff log in where everybody does: with the second factor, and throttled.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.site_header = admin.site.site_title = "voicecloud"

handler400 = "voicecloud.errors.bad_request"
handler403 = "voicecloud.errors.forbidden"
handler404 = "voicecloud.errors.not_found"
handler500 = "voicecloud.errors.our_fault"
urlpatterns = [
    path("", include("apps.pages.urls")),
    path("accounts/", include("allauth.urls")),
    path("", include("apps.accounts.urls")),
    path("stripe/webhook", webhook.stripe, name="stripe-webhook"),
    path("w/<slug:slug>/", include("apps.webhooks.urls")),
    path("w/<slug:slug>/", include("apps.api.urls")),
    path("w/<slug:slug>/", include("apps.billing.urls")),
    path("w/<slug:slug>/", include("apps.jobs.urls")),
    path("w/<slug:slug>/", include("apps.voices.urls")),
    path("w/<slug:slug>/", include("apps.studio.urls")),
    path("api/v1/", include("apps.api.rest_urls")),
    path("", include("apps.api.compat.urls")),
    path("admin/staff/", include("apps.pages.staff_urls")),
    path("admin/", admin.site.urls),
]
