from __future__ import annotations

import io
import json
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from apps.jobs.models import Artifact
from apps.studio.options import FORMATS, defaults
from apps.studio.pages import pitch_plot
from ml.converters.base import OUTPUT_FORMATS
from ml.options import ConvertOptions
from tests.received import received
from tests.sounds import speech, wav_bytes


def post(client: Any, form: dict[str, Any], capture: Any, **headers: str) -> Any:
    with capture(execute=True):
        return client.post("/w/acme/convert/", form, headers=headers)


@pytest.fixture
def send(bob: Any, acme: Any, client_of: Any, django_capture_on_commit_callbacks: Any) -> Any:
    """Return a function that posts the form as Bob."""
    return lambda form, **headers: post(client_of(bob), form, django_capture_on_commit_callbacks, **headers)


def result_bytes(conversion: Any) -> bytes:
    with conversion.result.file.open("rb") as handle:
        return handle.read()


def test_the_result_has_exactly_the_samples_of_the_source(converted: Any) -> None:
    samples, rate = soundfile.read(io.BytesIO(result_bytes(converted)))
    assert (rate, len(samples)) == (48000, 96000)
    assert np.abs(samples).max() > 0.01
    assert converted.result.data["samples"] == 96000


def test_a_conversion_keeps_all_that_is_needed_to_make_it_again(converted: Any, mia: Any, bob: Any) -> None:
    assert converted.options == defaults()
    assert converted.model == mia.active_model
    assert converted.created_by == bob
    assert 0 <= converted.seed < 2**31
    assert converted.source.sha256
    assert {"similarity", "f0_correlation", "f0_rmse_cents", "pitch_semitones"} <= converted.metrics.keys()
    curves = converted.curves
    assert len(curves["times"]) == len(curves["source_f0"]) == len(curves["result_f0"]) > 0
    assert curves["source_peaks"]
    assert converted.result.data["peaks"]


def test_the_file_is_named_after_source_and_voice_and_says_that_a_machine_made_it(converted: Any) -> None:
    assert converted.result.name == "my song - Mia.wav"
    with av.open(io.BytesIO(result_bytes(converted))) as container:
        tags = container.metadata
    assert tags["artist"] == "Mia"
    assert "AI-generated" in tags["comment"]
    assert "voicecloud" in tags["comment"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_made_and_served_as_what_it_is(
    send: Any, form: Any, acme: Any, bob: Any, client_of: Any, name: str
) -> None:
    assert send({**form, "format": name, "sample_rate": "24000", "loudness": "-20"}).status_code == 302
    row = acme.conversions.get()
    assert row.job.status == "done", row.job.message
    heard = received(client_of(bob).get(f"/w/acme/artifacts/{row.result.code}/?inline=1"))
    assert heard.headers["Content-Type"] == FORMATS[name].content_type
    with av.open(io.BytesIO(heard.body)) as container:
        stream = container.streams.audio[0]
        length = sum(frame.samples / frame.sample_rate for frame in container.decode(stream))
    assert length == pytest.approx(2.0, abs=0.1)
    assert row.result.data["samples"] == 48000


def test_what_can_be_chosen_is_what_the_engine_knows() -> None:
    assert tuple(FORMATS) == OUTPUT_FORMATS
    assert ConvertOptions(**defaults()) == ConvertOptions()


def test_the_same_seed_and_options_give_the_same_bytes(send: Any, form: Any, acme: Any, song: Any) -> None:
    first = {**form, "seed": "7"}
    send(first)
    song.seek(0)
    send(first)
    one, two = acme.conversions.all()
    assert one.result.sha256 == two.result.sha256
    assert one.source == two.source


def test_pitch_by_hand_moves_the_result(send: Any, form: Any, acme: Any) -> None:
    send({**form, "pitch_mode": "manual", "semitones": "-5"})
    row = acme.conversions.get()
    assert row.options["pitch"] == -5
    assert row.metrics["pitch_semitones"] == -5


def test_an_earlier_source_can_be_used_again(send: Any, form: Any, acme: Any, converted: Any) -> None:
    again = {**form, "source": str(converted.source.code), "parent": str(converted.code), "retrieval": "0.8"}
    del again["upload"]
    assert send(again).status_code == 302
    row = acme.conversions.first()
    assert row.parent == converted
    assert row.source == converted.source
    assert acme.sources.count() == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"upload": ""}, "Choose an audio file"),
        ({"pitch_mode": "manual", "semitones": ""}, "Say by how many semitones"),
        ({"pitch_mode": "manual", "semitones": "25"}, "less than or equal to 24"),
        ({"retrieval": "1.5"}, "less than or equal to 1"),
        ({"denoise": "-1"}, "greater than or equal to 0"),
        ({"format": "exe"}, "not one of the available choices"),
        ({"sample_rate": "96000"}, "not one of the available choices"),
        ({"loudness": "0"}, "less than or equal to -8"),
        ({"preset": "best"}, "not one of the available choices"),
        ({"voice": "00000000-0000-4000-8000-000000000000"}, "not one of the available choices"),
        ({"voice": "x"}, "is not a valid UUID"),
        ({"seed": "-1"}, "greater than or equal to 0"),
        ({"retrieval": "nan"}, "Enter a number"),
        ({"protection": "1.5"}, "less than or equal to 1"),
        ({"envelope": "-0.5"}, "greater than or equal to 0"),
        ({"formant": "13"}, "less than or equal to 12"),
        ({"pitch_smoothing": "200"}, "less than or equal to 100"),
        ({"autotune": "2"}, "less than or equal to 1"),
        ({"scale": "H major"}, "not one of the available choices"),
        ({"retune": "-1"}, "greater than or equal to 0"),
    ],
)
def test_a_bad_choice_gets_its_sentence_and_makes_nothing(
    send: Any, form: Any, acme: Any, change: dict[str, str], sentence: str
) -> None:
    for headers in ({}, {"HX-Request": "true"}):
        answer = send({**form, **change}, **headers)
        assert answer.status_code == 422
        assert sentence in answer.content.decode()
    assert not acme.conversions.exists()
    assert not acme.jobs.filter(kind="conversion").exists()


def test_a_file_that_is_no_audio_gets_the_engines_sentence(send: Any, form: Any, acme: Any) -> None:
    page = SimpleUploadedFile("song.mp3", b"<!doctype html><html><body>no</body></html>", content_type="audio/mpeg")
    answer = send({**form, "upload": page}, **{"HX-Request": "true"})
    assert answer.status_code == 422
    assert "convert-form" in answer.content.decode()
    assert not acme.sources.exists()


def test_a_file_that_is_too_large_is_refused(send: Any, form: Any, settings: Any) -> None:
    settings.UPLOAD_MAX_BYTES = 1000
    answer = send(form)
    assert answer.status_code == 413
    assert "accepted" in answer.content.decode()


def test_without_a_consent_in_force_nothing_is_converted(send: Any, form: Any, acme: Any, mia: Any) -> None:
    mia.consents.update(withdrawn_at=timezone.now())
    answer = send(form)
    assert answer.status_code == 403
    assert "was withdrawn or has ended" in answer.content.decode()
    assert not acme.conversions.exists()


def test_a_consent_withdrawn_before_the_worker_comes_leaves_no_result(
    acme: Any, bob: Any, mia: Any, form: Any, client_of: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as waiting:
        client_of(bob).post("/w/acme/convert/", form)
    mia.consents.update(withdrawn_at=timezone.now())
    with django_capture_on_commit_callbacks(execute=True):
        for call in waiting:
            call()
    row = acme.conversions.get()
    assert row.job.status == "failed"
    assert "so nothing was made" in row.job.message
    assert not Artifact.objects.filter(job=row.job).exists()


def test_a_voice_of_another_workspace_cannot_be_chosen(
    send: Any, form: Any, charlies: Any, make_voice: Any, acme: Any
) -> None:
    theirs = make_voice(charlies, "Zoe")
    assert send({**form, "voice": str(theirs.code)}).status_code == 422
    assert not acme.conversions.exists()


def test_a_source_of_another_workspace_cannot_be_chosen(
    converted: Any, charlies: Any, charlie: Any, make_voice: Any, form: Any, client_of: Any
) -> None:
    theirs = make_voice(charlies, "Zoe")
    wanted = {**form, "voice": str(theirs.code), "source": str(converted.source.code)}
    del wanted["upload"]
    assert client_of(charlie).post("/w/charlies/convert/", wanted).status_code == 422


def test_the_page_teaches_when_there_is_no_voice_yet(acme: Any, bob: Any, client_of: Any) -> None:
    page = client_of(bob).get("/w/acme/convert/").content.decode()
    assert "First, a voice to convert into" in page
    assert "Nothing converted yet" in page
    assert "<form" not in page.split("<main", 1)[1].split("</main>")[0]


def test_the_form_is_filled_in_from_the_address(acme: Any, bob: Any, mia: Any, make_voice: Any, client_of: Any) -> None:
    other = make_voice(acme, "Noa")
    page = client_of(bob).get(f"/w/acme/convert/?voice={other.code}").content.decode()
    assert f'<option value="{other.code}" selected>' in page


def test_a_viewer_hears_but_does_not_convert(converted: Any, victor: Any, form: Any, client_of: Any) -> None:
    viewer = client_of(victor)
    page = viewer.get("/w/acme/convert/").content.decode()
    assert "my song.wav" in page
    assert "convert-form" not in page
    assert viewer.post("/w/acme/convert/", form).status_code == 403
    assert viewer.get(f"/w/acme/conversions/{converted.code}/").status_code == 200


def test_a_stereo_source_stays_stereo(send: Any, form: Any, acme: Any) -> None:
    left, right = speech(1.0, seed=1), speech(1.0, seed=1) * 0.4
    upload = SimpleUploadedFile("wide.wav", wav_bytes(np.stack([left, right], axis=1)))
    send({**form, "upload": upload})
    samples, _ = soundfile.read(io.BytesIO(result_bytes(acme.conversions.get())))
    assert samples.shape == (48000, 2)


def test_published_speeds_come_from_what_was_measured(converted: Any, bob: Any, client_of: Any) -> None:
    converted.metrics["real_time_factor"] = 0.125
    converted.save()
    page = client_of(bob).get("/w/acme/convert/").content.decode()
    assert "Measured here: 8.0 × real time." in page


def test_curves_are_gaps_where_nothing_is_voiced(converted: Any, bob: Any, client_of: Any) -> None:
    page = client_of(bob).get(f"/w/acme/conversions/{converted.code}/").content.decode()
    script = page.split(f'<script id="pitch-{converted.code}" type="application/json">')[1].split("</script>")[0]
    data = json.loads(script)
    assert [one["name"] for one in data["series"]] == ["Source", "Result"]
    assert 0 not in data["series"][0]["y"]
    assert None in data["series"][0]["y"]


def test_a_plot_says_how_far_the_result_was_measured(converted: Any) -> None:
    assert "over the whole length" in pitch_plot(converted)["description"]
    converted.curves |= {"times": [0.0, 5.0, 10.0, 15.0], "source_f0": [1.0] * 4, "result_f0": [200.0, 0.0, None, None]}
    plot = pitch_plot(converted)
    assert plot["description"] == "The result's curve ends at 10 s; 50% of what was measured is voiced."
    assert plot["series"][1]["y"] == [200.0, None, None, None]


def test_a_source_that_browsers_cannot_play_is_heard_as_flac(
    send: Any, form: Any, acme: Any, bob: Any, client_of: Any
) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, speech(1.0), 48000, format="AIFF", subtype="PCM_16")
    assert send({**form, "upload": SimpleUploadedFile("old.aiff", buffer.getvalue())}).status_code == 302
    row = acme.conversions.get()
    assert row.job.status == "done", row.job.message
    assert row.result.content_type == "audio/wav"
    address = f"/w/acme/conversions/{row.code}/source/"
    heard = received(client_of(bob).get(address))
    assert heard.headers["Content-Type"] == "audio/flac"
    assert heard.body[:4] == b"fLaC"
    saved = received(client_of(bob).get(address + "?save=1"))
    assert saved.headers["Content-Disposition"] == 'attachment; filename="old.aiff"'
    assert saved.body == buffer.getvalue()


def test_a_result_outlives_the_model_that_made_it(converted: Any, bob: Any, client_of: Any) -> None:
    from apps.voices.services.training import delete_model

    delete_model(model=converted.model, user=bob)
    page = client_of(bob).get(f"/w/acme/conversions/{converted.code}/").content.decode()
    assert "Version 1 of Mia, deleted since" in page
    assert result_bytes(converted)
