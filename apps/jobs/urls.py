from __future__ import annotations

from django.urls import URLPattern, path

from apps.jobs import views

app_name = "jobs"
urlpatterns: list[URLPattern] = [
    path("jobs/", views.job_list, name="list"),
    path("jobs/<uuid:code>/", views.job_detail, name="detail"),
    path("jobs/<uuid:code>/card/", views.job_card, name="card"),
    path("jobs/<uuid:code>/cancel/", views.job_cancel, name="cancel"),
    path("artifacts/<uuid:code>/", views.artifact_download, name="artifact"),
]
