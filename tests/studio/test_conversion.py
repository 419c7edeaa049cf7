from __future__ import annotations

from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import AuditEvent
from apps.studio.models import Conversion
from apps.studio.options import defaults, described, differences
from ml.options import ConvertOptions
from tests.received import received


@pytest.fixture
def varied(
    converted: Any, form: Any, bob: Any, acme: Any, client_of: Any, django_capture_on_commit_callbacks: Any
) -> Any:
    """A second conversion, made from the first with one thing changed."""
    again = {**form, "source": converted.source.code, "parent": converted.code, "format": "mp3", "seed": converted.seed}
    del again["upload"]
    with django_capture_on_commit_callbacks(execute=True):
        assert client_of(bob).post("/w/acme/convert/", again).status_code == 302
    return acme.conversions.get(parent=converted)


def page_of(client: Any, conversion: Any) -> str:
    answer = client.get(f"/w/acme/conversions/{conversion.code}/")
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_shows_sound_pitch_figures_and_options(converted: Any, bob: Any, client_of: Any) -> None:
    page = page_of(client_of(bob), converted)
    assert page.count('class="player') == 2
    assert 'class="plot"' in page
    assert "100 cents are a semitone" in page
    assert str(converted.seed) in page
    assert converted.result.sha256 in page
    assert "Automatic, to the voice&#x27;s range" in page


def test_no_page_carries_inline_script_or_style(converted: Any, bob: Any, client_of: Any) -> None:
    for address in ("/w/acme/convert/", f"/w/acme/conversions/{converted.code}/"):
        page = client_of(bob).get(address).content.decode()
        assert " style=" not in page
        assert "<style" not in page
        assert " onclick=" not in page
        assert all("src=" in tag or 'type="application/json"' in tag for tag in page.split("<script")[1:])


def test_the_source_is_served_in_ranges_and_only_to_members(
    converted: Any, victor: Any, charlie: Any, client_of: Any
) -> None:
    address = f"/w/acme/conversions/{converted.code}/source/"
    heard = received(client_of(victor).get(address, headers={"Range": "bytes=0-3"}))
    assert heard.status == 206
    assert heard.body == b"RIFF"
    assert heard.headers["Content-Disposition"].startswith("inline")
    assert client_of(charlie).get(address).status_code == 404


def test_again_fills_the_form_in_as_it_was(converted: Any, bob: Any, client_of: Any) -> None:
    page = client_of(bob).get(f"/w/acme/conversions/{converted.code}/again/").content.decode()
    assert f'<option value="{converted.source.code}" selected>' in page
    assert f'name="parent" value="{converted.code}"' in page
    assert f'value="{converted.seed}"' in page


EDITED = {
    "protection": 0.4,
    "envelope": 0.25,
    "formant": -2.5,
    "high_pass": False,
    "pitch_smoothing": 12.0,
    "autotune": 0.8,
    "scale": "F# minor",
    "retune": 120.0,
}


def test_what_was_chosen_is_kept_shown_and_filled_in_again(
    acme: Any, bob: Any, form: Any, client_of: Any, django_capture_on_commit_callbacks: Any
) -> None:
    chosen = {**form, **EDITED}
    del chosen["high_pass"]  # as a browser sends a box that is not ticked
    with django_capture_on_commit_callbacks(execute=True):
        assert client_of(bob).post("/w/acme/convert/", chosen).status_code == 302
    row = acme.conversions.get()
    assert row.job.status == "done", row.job.message
    assert row.options == {**defaults(), **EDITED}
    page = page_of(client_of(bob), row)
    for words in ("80% to F# minor, over 120 ms", "-2.5 semitones", "25% of the source&#x27;s", "12 ms", "Kept", "40%"):
        assert words in page, words
    again = client_of(bob).get(f"/w/acme/conversions/{row.code}/again/").content.decode()
    assert '<details class="fold" open>' in again
    assert '<option value="F# minor" selected>' in again
    for value in ('name="formant" value="-2.5"', 'name="autotune" value="0.8"', 'name="retune" value="120.0"'):
        assert value in again, value
    assert "checked" not in again.split('name="high_pass"')[1].split(">")[0]


def test_a_conversion_from_before_the_newer_options_still_loads(converted: Any, bob: Any, client_of: Any) -> None:
    converted.options = {name: value for name, value in converted.options.items() if name not in EDITED}
    converted.save()
    assert described(converted.options) == described(defaults())
    assert "Off" in page_of(client_of(bob), converted)
    again = client_of(bob).get(f"/w/acme/conversions/{converted.code}/again/").content.decode()
    assert 'name="formant" value="0.0"' in again
    assert "checked" in again.split('name="high_pass"')[1].split(">")[0]
    assert ConvertOptions(**converted.options) == ConvertOptions()


def test_a_variation_stands_beside_what_it_was_made_from(varied: Any, converted: Any, bob: Any, client_of: Any) -> None:
    page = page_of(client_of(bob), varied)
    assert page.count('class="compare"') == 2
    assert f"/w/acme/conversions/{converted.code}/" in page
    assert differences(converted.options, varied.options) == [("Format", "WAV, 16 bit", "MP3")]


def test_a_variation_outlives_what_it_was_made_from(varied: Any, converted: Any, bob: Any, client_of: Any) -> None:
    client_of(bob).post(f"/w/acme/conversions/{converted.code}/delete/")
    varied.refresh_from_db()
    assert varied.parent is None
    assert default_storage.exists(varied.source.file.name)
    assert page_of(client_of(bob), varied).count('class="compare"') == 1


def test_deleting_removes_rows_and_files(
    converted: Any, bob: Any, acme: Any, client_of: Any, django_capture_on_commit_callbacks: Any
) -> None:
    names = [converted.result.file.name, converted.source.file.name]
    assert all(default_storage.exists(name) for name in names)
    with django_capture_on_commit_callbacks(execute=True):
        answer = client_of(bob).post(f"/w/acme/conversions/{converted.code}/delete/")
    assert answer.status_code == 302
    assert not acme.conversions.exists()
    assert not acme.sources.exists()
    assert not acme.jobs.filter(kind="conversion").exists()
    assert not any(default_storage.exists(name) for name in names)
    assert AuditEvent.objects.filter(workspace=acme, action="conversion.deleted").exists()


def test_an_unfinished_conversion_is_cancelled_before_it_is_deleted(
    acme: Any, bob: Any, form: Any, client_of: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as waiting:
        client_of(bob).post("/w/acme/convert/", form)
    row = acme.conversions.get()
    page = page_of(client_of(bob), row)
    assert f'id="job-{row.job.code}"' in page
    assert 'hx-trigger="job-ended from:body"' in page
    assert client_of(bob).post(f"/w/acme/conversions/{row.code}/delete/").status_code == 409
    assert waiting
    client_of(bob).post(f"/w/acme/jobs/{row.job.code}/cancel/")
    assert "This conversion was cancelled" in page_of(client_of(bob), row)
    assert client_of(bob).post(f"/w/acme/conversions/{row.code}/delete/").status_code == 302


def test_a_job_delivered_twice_leaves_one_result(converted: Any) -> None:
    from apps.studio.tasks import run_conversion

    run_conversion(converted.job.pk)
    assert converted.job.artifacts.count() == 1


def test_options_are_kept_as_a_preset_for_the_workspace(varied: Any, bob: Any, adam: Any, client_of: Any) -> None:
    send = {"conversion": str(varied.code), "name": "For the web", "for_voice": "on"}
    assert client_of(bob).post("/w/acme/presets/", send).status_code == 302
    preset = varied.workspace.conversion_presets.get()
    assert preset.options == {**defaults(), "format": "mp3"}
    assert preset.voice == varied.voice
    page = client_of(adam).get(f"/w/acme/convert/?preset={preset.code}").content.decode()
    assert "For the web" in page
    assert '<option value="mp3" selected>' in page
    client_of(bob).post("/w/acme/presets/", send)
    assert varied.workspace.conversion_presets.count() == 1


def test_a_preset_needs_a_name_and_a_conversion_of_the_workspace(converted: Any, bob: Any, client_of: Any) -> None:
    client = client_of(bob)
    assert client.post("/w/acme/presets/", {"conversion": str(converted.code), "name": ""}).status_code == 422
    assert client.post("/w/acme/presets/", {"conversion": "x", "name": "A"}).status_code == 422
    assert not converted.workspace.conversion_presets.exists()


def test_a_preset_is_deleted_by_an_editor_of_its_workspace_only(
    converted: Any, bob: Any, victor: Any, charlie: Any, client_of: Any
) -> None:
    client_of(bob).post("/w/acme/presets/", {"conversion": str(converted.code), "name": "A"})
    preset = converted.workspace.conversion_presets.get()
    address = f"/w/acme/presets/{preset.code}/delete/"
    assert client_of(victor).post(address).status_code == 403
    assert client_of(charlie).post(address).status_code == 404
    assert client_of(charlie).post(f"/w/charlies/presets/{preset.code}/delete/").status_code == 404
    assert client_of(bob).post(address).status_code == 302
    assert not converted.workspace.conversion_presets.exists()


def test_the_list_asks_the_database_no_more_for_more_rows(converted: Any, bob: Any, client_of: Any) -> None:
    from django.db import connection

    from apps.jobs.models import Job

    client = client_of(bob)

    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert client.get("/w/acme/convert/").status_code == 200
        return len(captured)

    queries()
    few = queries()
    for _ in range(5):
        job = Job.objects.create(
            workspace=converted.workspace,
            kind="conversion",
            title="x",
            task="x",
            queue="gpu",
            status="done",
            ended_at=converted.created_at,
        )
        fields = {"voice": converted.voice, "model": converted.model, "source": converted.source}
        Conversion.objects.create(workspace=converted.workspace, job=job, options=defaults(), seed=1, **fields)
    assert queries() == few


def test_options_in_words_have_units() -> None:
    words = described({**defaults(), "pitch": -3.5, "loudness": -16.0, "sample_rate": 22050})
    assert words["Pitch"] == "-3.5 semitones"
    assert words["Loudness"] == "-16 LUFS"
    assert words["Sample rate"] == "22.05 kHz"
