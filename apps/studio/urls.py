from __future__ import annotations

from django.urls import URLPattern, path

from apps.studio import views

app_name = "studio"
urlpatterns: list[URLPattern] = [
    path("convert/", views.convert, name="convert"),
    path("convert/cost/", views.cost, name="cost"),
    path("conversions/<uuid:code>/", views.conversion, name="conversion"),
    path("conversions/<uuid:code>/source/", views.source_audio, name="source"),
    path("conversions/<uuid:code>/again/", views.again, name="again"),
    path("conversions/<uuid:code>/keep/", views.keep, name="keep"),
    path("conversions/<uuid:code>/delete/", views.delete, name="delete"),
    path("presets/", views.preset_save, name="preset_save"),
    path("presets/<uuid:code>/delete/", views.preset_delete, name="preset_delete"),
]
