"""Voice models: trained or made at once, activated, deleted."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from ninja import Query

from apps.api.auth import ApiRequest
from apps.api.door import Routes
from apps.api.forms import require_valid
from apps.api.limits import Route
from apps.api.paging import page_of
from apps.api.routes.voices import voice_of
from apps.api.schemas.base import Page, Paging
from apps.api.schemas.voices import Model, Training
from apps.voices.forms import TrainForm
from apps.voices.models import VoiceModel
from apps.voices.services import training

routes = Routes("models")


def _rows(request: ApiRequest) -> QuerySet[VoiceModel]:
    rows = VoiceModel.objects.filter(voice__workspace=request.caller.workspace)
    return rows.select_related("voice__workspace", "job").defer("curve", "resources", "card")


@routes.read("/voices/{uuid:voice}/models", Page[Model])
def list_models(request: ApiRequest, voice: UUID, paging: Query[Paging]) -> Page[Model]:
    """A voice's models."""
    rows = _rows(request).filter(voice=voice_of(request, voice))
    return page_of(request, rows, paging, Page[Model], Model.of)


@routes.write("POST", "/voices/{uuid:voice}/models", Model, status=201, cost=Route.DEAR)
def train(request: ApiRequest, voice: UUID, given: Training) -> Model:
    """Train a new model of a voice."""
    form = require_valid(TrainForm(given.model_dump(exclude_none=True)))
    return Model.of(training.train(voice=voice_of(request, voice), user=request.caller.user, options=form.options))


@routes.write("POST", "/voices/{uuid:voice}/models/instant", Model, status=201, cost=Route.DEAR)
def make_instant(request: ApiRequest, voice: UUID) -> Model:
    """Make an instant model: no training, less alike."""
    return Model.of(training.make_instant(voice=voice_of(request, voice), user=request.caller.user))


@routes.read("/models/{uuid:model}", Model)
def get_model(request: ApiRequest, model: UUID) -> Model:
    """One model."""
    return Model.of(get_object_or_404(_rows(request), code=model))


@routes.write("POST", "/models/{uuid:model}/activate", Model)
def activate_model(request: ApiRequest, model: UUID) -> Model:
    """Make a model the one that conversions use."""
    row = get_object_or_404(_rows(request), code=model)
    training.activate(model=row, user=request.caller.user)
    row.refresh_from_db(fields=["active"])
    return Model.of(row)


@routes.write("DELETE", "/models/{uuid:model}", None, role="admin", status=204)
def delete_model(request: ApiRequest, model: UUID) -> None:
    """Delete a model, its file and samples."""
    training.delete_model(model=get_object_or_404(_rows(request), code=model), user=request.caller.user)


@routes.read("/models/{uuid:model}/resources", dict[str, Any])
def get_model_resources(request: ApiRequest, model: UUID) -> dict[str, Any]:
    """What a training took of its machine."""
    rows = VoiceModel.objects.filter(voice__workspace=request.caller.workspace)
    found: dict[str, Any] = get_object_or_404(rows.only("resources"), code=model).resources
    return found
