"""The official OpenAI SDK, unmodified, against a running site: a test for each call that docs/api.md lists."""

from __future__ import annotations

import openai
import pytest
from openai import OpenAI

from tests.api.sdk.keyring import Keys, new_workspace
from tests.stack import Stack


@pytest.fixture(scope="module")
def keys(stack: Stack) -> Keys:
    """Keys of a workspace of this module's own."""
    return new_workspace(stack, "openers")


@pytest.fixture(scope="module")
def client(stack: Stack, keys: Keys) -> OpenAI:
    """The SDK with nothing changed but its base URL."""
    return OpenAI(base_url=f"{stack.url}/v1", api_key=keys.create)


def test_models_are_the_presets(client: OpenAI) -> None:
    models = client.models.list().data
    assert [model.id for model in models] == ["voicecloud_fast", "voicecloud_balanced", "voicecloud_quality"]
    for model in models:
        assert type(model).model_validate(model.model_dump(), strict=True).owned_by == "voicecloud"


def test_one_model_is_found_by_its_name(client: OpenAI) -> None:
    assert client.models.retrieve("voicecloud_quality").object == "model"
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("gpt-4o-mini-tts")
    assert (refused.value.code, refused.value.param) == ("not_found", "model")
    assert "gpt-4o-mini-tts" in refused.value.message


def test_speech_says_that_it_is_not_there_yet_and_is_asked_once(client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as refused:
        client.audio.speech.create(model="tts-1", voice="alloy", input="Hello")
    assert (refused.value.status_code, refused.value.type) == (501, "server_error")
    assert "Text to speech is not part of this site yet." in refused.value.message
    assert refused.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_streamed_speech_says_so_too(client: OpenAI) -> None:
    with (
        pytest.raises(openai.InternalServerError, match="Text to speech"),
        client.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="Hello") as answer,
    ):
        answer.read()


def test_errors_are_those_of_the_sdk(stack: Stack, keys: Keys, client: OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as unknown:
        OpenAI(base_url=f"{stack.url}/v1", api_key="vc_wrong").models.list()
    assert (unknown.value.code, unknown.value.type) == ("invalid_api_key", "invalid_request_error")
    reader = OpenAI(base_url=f"{stack.url}/v1", api_key=keys.read)
    with pytest.raises(openai.PermissionDeniedError, match="role editor"):
        reader.audio.speech.create(model="tts-1", voice="alloy", input="Hello")
    with pytest.raises(openai.NotFoundError, match="/v1/chat/completions is not among the calls"):
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])
    assert unknown.value.request_id
