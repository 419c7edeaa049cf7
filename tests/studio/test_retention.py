"""What was made is kept as long as was said, its owner is told before it goes, and nothing goes by halves."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.files.storage import default_storage
from django.db import connection
from django.utils import timezone

from apps.accounts.models import AuditEvent
from apps.errors import Refused
from apps.jobs import expiry, orphans
from apps.jobs.models import Artifact, Job, Status
from apps.studio import retention, services
from apps.studio.models import Conversion, Source
from apps.studio.options import defaults
from tests.kills import deaths

DAY = timedelta(days=1)


def another(conversion: Any, days: float = 30.0) -> Conversion:
    """Return a second finished conversion of the same source, whose result has so many days to live."""
    from django.core.files.base import ContentFile

    workspace = conversion.workspace
    job = Job.objects.create(
        workspace=workspace, kind="conversion", title="Another", task="none", queue="gpu", status="done",
        ended_at=timezone.now(),
    )  # fmt: skip
    artifact = Artifact(workspace=workspace, job=job, kind="audio", name="b.wav", size=3, content_type="audio/wav")
    artifact.data = conversion.result.data if conversion.result else {}
    artifact.expires_at = timezone.now() + days * DAY
    artifact.file.save("b.wav", ContentFile(b"abc"))
    return Conversion.objects.create(
        workspace=workspace, voice=conversion.voice, model=conversion.model, model_version=1, source=conversion.source,
        job=job, options=defaults(), seed=1,
    )  # fmt: skip


def age(conversion: Any, days: float) -> None:
    """Let so many days pass for the conversion's files."""
    back = days * DAY
    for artifact in Artifact.objects.filter(job=conversion.job):
        expires = artifact.expires_at and artifact.expires_at - back
        Artifact.objects.filter(pk=artifact.pk).update(created_at=artifact.created_at - back, expires_at=expires)
    source = Source.objects.get(pk=conversion.source_id)
    expires = source.expires_at and source.expires_at - back
    Source.objects.filter(pk=source.pk).update(created_at=source.created_at - back, expires_at=expires)


def again(conversion: Any) -> Conversion:
    return Conversion.objects.get(pk=conversion.pk)


def sweep() -> None:
    expiry.expire()
    retention.expire_sources()


def days_left(conversion: Any) -> float:
    result = again(conversion).result
    assert result is not None and result.expires_at is not None
    return float((result.expires_at - timezone.now()) / DAY)


def test_result_and_source_get_their_end_when_they_are_made(converted: Any) -> None:
    assert days_left(converted) == pytest.approx(30, abs=0.01)
    converted.source.refresh_from_db()
    assert (converted.source.expires_at - timezone.now()) / DAY == pytest.approx(30, abs=0.01)


def test_what_has_expired_is_gone_and_its_history_stays(converted: Any, bob: Any, client_of: Any) -> None:
    names = [converted.result.file.name, converted.source.file.name]
    code, sha256 = converted.result.code, converted.result.sha256
    age(converted, 29)
    sweep()
    assert all(default_storage.exists(name) for name in names)
    age(converted, 2)
    sweep()
    assert not any(default_storage.exists(name) for name in names)
    row = again(converted)
    assert row.result is None and row.expired_result is not None and not row.source.is_stored
    assert orphans.sweep_orphans() == {"orphans": 0, "missing": 0}
    client = client_of(bob)
    page = client.get(f"/w/acme/conversions/{row.code}/").content.decode()
    for words in ("The result expired on", "So is its source", sha256, "100 cents are a semitone", 'class="plot"'):
        assert words in page, words
    for words in ("Convert again", 'class="player', "/artifacts/", "/source/", ">Keep<"):
        assert words not in page, words
    assert '<span class="badge">Expired</span>' in client.get("/w/acme/convert/").content.decode()
    for address in (f"artifacts/{code}/", f"conversions/{row.code}/source/", f"conversions/{row.code}/again/"):
        answer = client.get(f"/w/acme/{address}")
        assert answer.status_code == 410, address
        assert "expired" in answer.content.decode()


def test_while_the_source_is_there_the_result_can_be_made_anew(
    converted: Any, form: Any, bob: Any, client_of: Any, django_capture_on_commit_callbacks: Any
) -> None:
    another(converted)
    age(converted, 31)
    sweep()
    row = again(converted)
    assert row.expired_result is not None and row.source.is_stored
    page = client_of(bob).get(f"/w/acme/conversions/{row.code}/").content.decode()
    assert "“Convert again” makes it anew" in page and "/again/" in page
    filled = {**form, "source": row.source.code, "parent": row.code}
    del filled["upload"]
    with django_capture_on_commit_callbacks(execute=True):
        assert client_of(bob).post("/w/acme/convert/", filled).status_code == 302
    made = Conversion.objects.latest("pk")
    assert made.job.status == "done" and made.source == row.source
    assert days_left(made) == pytest.approx(30, abs=0.01)
    assert client_of(bob).get(f"/w/acme/conversions/{made.code}/").status_code == 200  # beside an expired parent


def test_a_source_stays_for_its_last_result_and_for_a_job_that_needs_it(converted: Any) -> None:
    second = another(converted, days=60)
    age(converted, 31)
    sweep()
    assert again(converted).source.is_stored
    Artifact.objects.filter(job=second.job).update(expires_at=timezone.now() - DAY)
    Job.objects.filter(pk=converted.job.pk).update(status=Status.QUEUED, ended_at=None)
    sweep()
    assert again(second).result is None and again(converted).source.is_stored
    Job.objects.filter(pk=converted.job.pk).update(status=Status.FAILED, ended_at=timezone.now())
    sweep()
    assert not again(converted).source.is_stored


def test_a_source_of_which_nothing_was_made_goes_with_its_row(acme: Any, bob: Any, song: Any) -> None:
    source = taken_in(acme, bob, song)
    Source.objects.update(expires_at=timezone.now() - DAY)
    assert retention.expire_sources() == 1
    assert not Source.objects.exists() and not default_storage.exists(source.file.name)


def taken_in(workspace: Any, user: Any, song: Any) -> Source:
    from django.core.files.uploadedfile import TemporaryUploadedFile

    file = TemporaryUploadedFile(song.name, "audio/wav", song.size, None)
    song.seek(0)
    file.write(song.read())
    file.seek(0)
    source = services.add_source(workspace=workspace, user=user, upload=file)
    file.close()
    return source


def test_an_expired_source_cannot_be_started_from_and_the_same_bytes_make_a_new_one(
    converted: Any, acme: Any, bob: Any, song: Any, form: Any, client_of: Any
) -> None:
    age(converted, 31)
    sweep()
    old = again(converted).source
    with pytest.raises(Refused) as refused:
        services.submit_conversion(workspace=acme, user=bob, voice=converted.voice, source=old, options=defaults())
    assert refused.value.status == 410
    filled = {**form, "source": old.code}
    del filled["upload"]
    assert client_of(bob).post("/w/acme/convert/", filled).status_code == 422  # it is not offered any more
    new = taken_in(acme, bob, song)
    assert new != old and new.sha256 == old.sha256 and new.is_stored


@pytest.mark.django_db(transaction=True)
def test_a_kill_at_any_step_leaves_nothing_that_the_next_round_does_not_finish(converted: Any) -> None:
    died = []

    def one_more() -> list[str]:
        conversion = another(converted, days=-1)
        return [str(conversion.expired_result or conversion.result and conversion.result.file)]

    names = one_more()
    age(converted, 31)
    for moment in deaths(sweep):
        died.append(moment)
        served = Artifact.objects.filter(expired_at=None).values_list("file", flat=True)
        assert all(default_storage.exists(name) for name in served), moment
        names += one_more()  # so that there is something to do after each death
        Source.objects.filter(expired_at=None).update(expires_at=timezone.now() - DAY)
    assert {"Storage.delete", "QuerySet.update"} <= {moment.split(", ")[1] for moment in died}
    assert not any(default_storage.exists(name) for name in names)
    assert not Artifact.objects.exclude(file="").exists() and not Source.objects.exclude(file="").exists()
    assert orphans.sweep_orphans() == {"orphans": 0, "missing": 0}


@pytest.mark.django_db(transaction=True)
def test_a_source_that_somebody_starts_from_just_now_does_not_go(
    converted: Any, acme: Any, bob: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.JOBS_INLINE = False
    age(converted, 31)
    expiry.expire()
    real, source = services.submit, again(converted).source
    swept: list[bool] = []

    def sweep_beside() -> None:
        swept.append(retention._expire_source(source.pk))
        connection.close()

    sweeper = threading.Thread(target=sweep_beside)

    def submit(**given: Any) -> Job:
        sweeper.start()
        sweeper.join(1.0)  # it must wait for this transaction, so it is not done by then
        assert not swept
        return real(**given)

    monkeypatch.setattr(services, "submit", submit)
    services.submit_conversion(workspace=acme, user=bob, voice=converted.voice, source=source, options=defaults())
    sweeper.join()
    source.refresh_from_db()
    assert swept == [False] and source.is_stored and default_storage.exists(source.file.name)


def test_a_file_that_cannot_be_removed_stops_no_other(converted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, free = another(converted, days=-2), another(converted, days=-1)
    bad = stuck.result.file.name
    real = default_storage.delete

    def delete(name: str) -> None:
        if name == bad:
            raise PermissionError(name)
        real(name)

    monkeypatch.setattr(default_storage, "delete", delete)
    assert expiry.expire() == 1
    assert not again(free).result and Artifact.objects.get(job=stuck.job).file.name == bad
    monkeypatch.undo()
    assert expiry.expire() == 1
    assert not default_storage.exists(bad)


def test_rounds_end_in_time_and_go_on_where_they_stopped(converted: Any) -> None:
    for _ in range(4):
        another(converted, days=-1)
    assert [expiry.expire(seconds=0) for _ in range(5)] == [1, 1, 1, 1, 0]


def test_what_is_kept_does_not_expire_until_it_is_let_go(converted: Any, bob: Any, victor: Any, client_of: Any) -> None:
    age(converted, 27)
    address = f"/w/acme/conversions/{converted.code}/"
    page = client_of(bob).get(address).content.decode()
    assert "Expires in 2 days" in page and ">Keep<" in page
    assert ">Keep<" not in client_of(victor).get(address).content.decode()
    assert client_of(bob).post(f"{address}keep/").status_code == 302
    age(converted, 40)
    retention.apply_changes()
    sweep()
    assert again(converted).result is not None and again(converted).source.is_stored
    assert "Kept since" in client_of(bob).get(address).content.decode()
    client_of(bob).post(f"{address}keep/", {"keep": "no"})
    assert days_left(converted) == pytest.approx(7, abs=0.01)  # long due, but not before a warning
    assert set(AuditEvent.objects.values_list("action", flat=True)) >= {"conversion.kept", "conversion.let_expire"}


def test_what_is_gone_cannot_be_kept(converted: Any, bob: Any, client_of: Any) -> None:
    age(converted, 31)
    sweep()
    answer = client_of(bob).post(f"/w/acme/conversions/{converted.code}/keep/")
    assert answer.status_code == 410 and "expired already" in answer.content.decode()


def test_keeping_wins_over_a_sweep_that_has_already_looked(converted: Any, bob: Any) -> None:
    age(converted, 31)
    artifact = again(converted).result
    assert artifact is not None
    retention.keep(conversion=again(converted), user=bob)
    assert not expiry._remove(artifact.pk, artifact.file.name, timezone.now())
    assert default_storage.exists(artifact.file.name) and again(converted).result is not None


@pytest.mark.parametrize(
    ("age_days", "retention_days", "left"),
    [(0, 90, 90), (0, 10, 10), (20, 90, 70), (20, 10, 7), (29, 60, 31), (29, 30, 1), (20, 0, None)],
)
def test_another_retention_holds_for_what_is_there_and_takes_nothing_without_a_warning(
    converted: Any, acme: Any, age_days: int, retention_days: int, left: float | None
) -> None:
    retention.apply_changes()
    age(converted, age_days)
    acme.retention_days = retention_days
    acme.save()
    assert retention.apply_changes() == 1
    assert retention.apply_changes() == 0
    row = again(converted)
    for held in (row.result, row.source):
        assert held is not None
        if left is None:
            assert held.expires_at is None
        else:
            assert (held.expires_at - timezone.now()) / DAY == pytest.approx(left, abs=0.01)


def test_what_was_made_before_there_was_a_retention_gets_one_and_a_week_at_least(converted: Any) -> None:
    age(converted, 100)
    Artifact.objects.update(expires_at=None)
    Source.objects.update(expires_at=None)
    retention.apply_changes()
    assert days_left(converted) == pytest.approx(7, abs=0.01)


def test_with_a_retention_of_zero_nothing_expires(settings: Any, request: Any) -> None:
    settings.RETENTION_DAYS = 0
    converted = request.getfixturevalue("converted")
    assert converted.result.expires_at is None and converted.source.expires_at is None


def test_voices_and_what_they_were_made_from_do_not_expire(converted: Any, acme: Any) -> None:
    acme.retention_days = 1
    acme.save()
    sample = Artifact(workspace=acme, job=converted.model.job, kind="sample", name="step.wav", size=1)
    sample.save()
    retention.apply_changes()
    sample.refresh_from_db()
    assert sample.expires_at is None


def test_the_owner_is_told_once_before_things_go(converted: Any, alice: Any, settings: Any) -> None:
    assert retention.warn() == 0
    age(converted, 24)
    another(converted, days=3)
    mail.outbox.clear()
    assert [retention.warn(), retention.warn()] == [1, 0]
    (letter,) = mail.outbox
    assert letter.to == [alice.email] and letter.subject == "2 results in Acme expire soon"
    address = f"{settings.SITE_URL}/w/acme/convert/?expiring=1"
    assert address in letter.body and address in letter.alternatives[0].content


def test_a_second_letter_comes_a_day_later_and_only_with_news(converted: Any, acme: Any) -> None:
    another(converted, days=3)
    assert retention.warn() == 1
    another(converted, days=6.5)
    assert retention.warn() == 0, "within a day"
    acme.refresh_from_db()
    acme.warned_at -= 2 * DAY
    acme.save()
    assert retention.warn() == 0, "both were in the first letter's time"
    acme.warned_until -= 2 * DAY
    acme.save()
    assert retention.warn() == 1, "6.5 days were beyond the first letter's time"


def test_a_letter_that_could_not_be_sent_is_sent_by_the_next_round(
    converted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    another(converted, days=3)
    with monkeypatch.context() as patch:
        patch.setattr("django.core.mail.EmailMultiAlternatives.send", refuse)
        assert retention.warn() == 0
    mail.outbox.clear()
    assert retention.warn() == 1 and len(mail.outbox) == 1


def refuse(*_: Any, **__: Any) -> None:
    raise OSError("gone")


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_send_one_letter(converted: Any, acme: Any) -> None:
    another(converted, days=3)
    mail.outbox.clear()
    now = timezone.now()
    both = threading.Barrier(2)
    sent = []

    def round_() -> None:
        both.wait()
        sent.append(retention._warn(acme, now))  # both have seen the workspace as due
        connection.close()

    acme.refresh_from_db()
    threads = [threading.Thread(target=round_) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sent) == [False, True] and len(mail.outbox) == 1


def test_the_list_can_show_what_expires_within_a_week(converted: Any, bob: Any, client_of: Any) -> None:
    soon = another(converted, days=3)
    page = client_of(bob).get("/w/acme/convert/?expiring=1").content.decode()
    assert str(soon.code) in page and f"/conversions/{converted.code}/" not in page
    assert "Expires in 2 days" in page  # whole days
    Artifact.objects.update(expires_at=None)
    assert "Nothing expires within a week" in client_of(bob).get("/w/acme/convert/?expiring=1").content.decode()
