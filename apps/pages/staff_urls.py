"""Addresses of the staff's pages, below /admin/."""

from __future__ import annotations

from django.urls import path

from apps.pages import staff

app_name = "staff"
urlpatterns = [
    path("queues/", staff.queues, name="queues"),
    path("workspaces/", staff.workspaces, name="workspaces"),
    path("workspaces/<uuid:code>/", staff.workspace, name="workspace"),
    path("storage/", staff.storage, name="storage"),
]
