from __future__ import annotations

from django.urls import path

from apps.accounts import audit_views, views

app_name = "accounts"
urlpatterns = [
    path("workspaces/new/", views.new, name="new_workspace"),
    path("workspaces/<uuid:code>/restore/", views.restore, name="restore"),
    path("invitations/<str:token>/", views.invitation, name="invitation"),
    path("w/<slug:slug>/team/", views.team, name="team"),
    path("w/<slug:slug>/team/invite/", views.invite, name="invite"),
    path("w/<slug:slug>/team/invitations/<uuid:code>/withdraw/", views.withdraw, name="withdraw"),
    path("w/<slug:slug>/team/leave/", views.leave, name="leave"),
    path("w/<slug:slug>/team/transfer/", views.transfer, name="transfer"),
    path("w/<slug:slug>/team/<uuid:code>/role/", views.role, name="role"),
    path("w/<slug:slug>/team/<uuid:code>/remove/", views.remove, name="remove"),
    path("w/<slug:slug>/settings/", views.workspace_settings, name="settings"),
    path("w/<slug:slug>/delete/", views.delete, name="delete"),
    path("w/<slug:slug>/erase/", views.erase, name="erase"),
    path("settings/delete-account/", views.erase_account, name="erase_account"),
    path("w/<slug:slug>/audit/", audit_views.audit, name="audit"),
]
