"""A repeated request gets the same answer and does nothing twice; of requests at once one is carried out."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.test.client import encode_multipart
from django.utils import timezone

from apps.accounts.keys import Caller
from apps.api import idempotency
from apps.api.models import ApiCall, State
from apps.errors import Refused

MakeCaller = Callable[..., Caller]
ADDRESS = "/api/v1/conversions"


class Work:
    """Counts how often it is done."""

    def __init__(self, **answer: Any) -> None:
        self.done, self.answer = 0, answer

    def __call__(self) -> HttpResponse:
        self.done += 1
        return JsonResponse({"number": self.done}, **{"status": 201, "headers": {"Location": "/x"}, **self.answer})


def post(body: Any = None, key: str | None = "k-1", address: str = ADDRESS, **more: Any) -> HttpRequest:
    headers = {} if key is None else {"Idempotency-Key": key}
    data = json.dumps({"a": 1} if body is None else body)
    return RequestFactory().post(address, data, content_type="application/json", headers=headers | more)


def form(name: str = "one.wav", content: bytes = b"sound", boundary: str = "between", **fields: str) -> HttpRequest:
    data = {"title": "Song", **fields, "file": SimpleUploadedFile(name, content, "audio/wav")}
    kind, headers = f"multipart/form-data; boundary={boundary}", {"Idempotency-Key": "k-1"}
    return RequestFactory().post(ADDRESS, encode_multipart(boundary, data), content_type=kind, headers=headers)


def sentence(request: HttpRequest, caller: Caller, work: Any) -> Refused:
    with pytest.raises(Refused) as refusal:
        idempotency.answer_once(request, caller, work)
    return refusal.value


def test_a_repetition_gets_the_same_answer(caller: Caller) -> None:
    work = Work()
    first = idempotency.answer_once(post(), caller, work)
    again = idempotency.answer_once(post(), caller, work)
    assert work.done == 1
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, b'{"number": 1}')
    assert again["Location"] == "/x" and again["Content-Type"] == "application/json"
    assert again["Idempotent-Replayed"] == "true" and "Idempotent-Replayed" not in first


def test_without_a_key_each_request_is_a_new_one(caller: Caller) -> None:
    work = Work()
    for _ in range(2):
        idempotency.answer_once(post(key=None), caller, work)
    assert work.done == 2 and not ApiCall.objects.exists()


@pytest.mark.parametrize("key", ["", " ", "a" * 256, "tab\there", "ümlaut", "x "])
def test_a_key_of_the_wrong_form_is_refused(caller: Caller, key: str) -> None:
    request = post(key=None)
    request.META["HTTP_IDEMPOTENCY_KEY"] = key
    assert sentence(request, caller, Work()).status == 400


@pytest.mark.parametrize(
    "other", [post({"a": 2}), post(address=ADDRESS + "?x=1"), post(address="/api/v1/voices"), form()]
)
def test_the_key_of_another_request_is_refused(caller: Caller, other: HttpRequest) -> None:
    work = Work()
    idempotency.answer_once(post(), caller, work)
    refusal = sentence(other, caller, work)
    assert refusal.status == 409 and "another request" in refusal.message and work.done == 1


def test_another_api_key_learns_nothing_by_it(caller: Caller, caller_for: MakeCaller, alice: Any) -> None:
    work = Work()
    idempotency.answer_once(post(), caller, work)
    assert sentence(post(), caller_for(alice), work).status == 409 and work.done == 1


def test_workspaces_know_nothing_of_each_others_keys(
    caller: Caller, charlies: Any, charlie: Any, django_user_model: Any
) -> None:
    from apps.accounts import keys

    work = Work()
    idempotency.answer_once(post(), caller, work)
    _, token = keys.issue(membership=charlies.memberships.get(), name="x", scope="create")
    stranger = keys.caller_of(token)
    assert stranger is not None
    idempotency.answer_once(post(), stranger, work)
    assert work.done == 2


def test_forms_with_files_count_by_fields_and_bytes_not_by_boundary(caller: Caller) -> None:
    work = Work()
    first = form()
    idempotency.answer_once(first, caller, work)
    assert first.FILES["file"].read() == b"sound", "whoever answers reads the file from its beginning"
    assert "Idempotent-Replayed" in idempotency.answer_once(form(boundary="other"), caller, work)
    for other in (form(content=b"noise"), form(name="two.wav"), form(title="Other"), form(more="x")):
        assert sentence(other, caller, work).status == 409
    assert work.done == 1


def test_requests_that_differ_in_where_a_field_ends_differ(rf: RequestFactory) -> None:
    one, other = rf.post("/", {"ab": "c", "d": "e"}), rf.post("/", {"a": "bc", "d": "e"})
    assert idempotency.fingerprint(one) != idempotency.fingerprint(other)
    assert idempotency.fingerprint(one) == idempotency.fingerprint(rf.post("/", {"ab": "c", "d": "e"}))


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_refusals_that_stay_are_kept(caller: Caller, status: int) -> None:
    work = Work(status=status)
    for _ in range(2):
        assert idempotency.answer_once(post(), caller, work).status_code == status
    assert work.done == 1


@pytest.mark.parametrize("status", [402, 409, 429, 503])
def test_refusals_that_pass_are_not_kept(caller: Caller, status: int) -> None:
    work = Work(status=status)
    for _ in range(2):
        idempotency.answer_once(post(), caller, work)
    assert work.done == 2 and not ApiCall.objects.exists()


def test_a_no_that_is_raised_is_not_kept(caller: Caller) -> None:
    def refusing() -> HttpResponse:
        raise Refused("Too many.", status=409)

    assert sentence(post(), caller, refusing).message == "Too many."
    assert idempotency.answer_once(post(), caller, Work()).status_code == 201


def test_after_a_fault_nothing_is_made_twice(caller: Caller) -> None:
    made = Work()

    def broken() -> HttpResponse:
        made()
        raise RuntimeError("while its answer was built")

    with pytest.raises(RuntimeError):
        idempotency.answer_once(post(), caller, broken)
    refusal = sentence(post(), caller, made)
    assert refusal.status == 409 and "Look for it" in refusal.message and made.done == 1


def test_an_answer_that_cannot_be_kept_is_not_made_twice(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> str:
        raise RuntimeError("no secret to seal with")

    work = Work()
    monkeypatch.setattr(idempotency.sealing, "seal", broken)
    with pytest.raises(RuntimeError):
        idempotency.answer_once(post(), caller, work)
    ApiCall.objects.update(claimed_at=timezone.now() - idempotency.TAKEN_OVER_AFTER)
    assert sentence(post(), caller, work).status == 409 and work.done == 1


def test_a_fault_of_the_site_is_carried_out_once(caller: Caller) -> None:
    work = Work(status=500)
    idempotency.answer_once(post(), caller, work)
    assert sentence(post(), caller, work).status == 409 and work.done == 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda: StreamingHttpResponse(iter([b"sound"])),
        lambda: HttpResponse(b"x" * (idempotency.BODY_BYTES_MAX + 1)),
        lambda: HttpResponse(b"secret", headers={"Cache-Control": "max-age=0, no-store"}),
    ],
    ids=["streamed", "large", "secret"],
)
def test_an_answer_that_is_not_kept_is_still_not_made_twice(caller: Caller, answer: Callable[[], HttpResponse]) -> None:
    assert idempotency.answer_once(post(), caller, answer).status_code == 200
    refusal = sentence(post(), caller, answer)
    assert refusal.status == 409 and "carried out and answered 200" in refusal.message


def test_while_the_first_runs_the_others_are_told_to_come_again(caller: Caller) -> None:
    work = Work()

    def slow() -> HttpResponse:
        refusal = sentence(post(), caller, work)
        assert refusal.status == 409 and refusal.headers["Retry-After"] == "2"
        return work()

    idempotency.answer_once(post(), caller, slow)
    assert work.done == 1


def test_what_died_is_taken_over_and_its_late_answer_does_not_count(caller: Caller) -> None:
    dead, _ = idempotency.claim(caller, "k-1", post(), idempotency.fingerprint(post()))
    assert sentence(post(), caller, Work()).status == 409
    ApiCall.objects.update(claimed_at=timezone.now() - idempotency.TAKEN_OVER_AFTER)
    work = Work()
    assert idempotency.answer_once(post(), caller, work).status_code == 201
    idempotency._keep(dead, HttpResponse(b"late"))
    idempotency._forget(dead)
    assert idempotency.answer_once(post(), caller, work).content == b'{"number": 1}'


def test_a_day_later_the_key_is_free_again(caller: Caller, caller_for: MakeCaller, alice: Any) -> None:
    work = Work()
    idempotency.answer_once(post(), caller, work)
    ApiCall.objects.update(created_at=timezone.now() - idempotency.KEPT_FOR)
    other = caller_for(alice)
    assert idempotency.answer_once(post({"a": 2}), other, work).content == b'{"number": 2}'
    assert "Idempotent-Replayed" in idempotency.answer_once(post({"a": 2}), other, work)
    call = ApiCall.objects.get()
    assert call.api_key == other.key and call.state == State.DONE


def test_answers_cannot_be_read_in_the_database(caller: Caller) -> None:
    idempotency.answer_once(post(), caller, lambda: JsonResponse({"secret": "whsec_abc"}))
    call = ApiCall.objects.get()
    assert call.sealed_body and "whsec" not in str(call.__dict__)


def test_the_sweep_removes_old_ones_in_bounded_batches(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "REMOVED_AT_ONCE", 2)
    monkeypatch.setattr(idempotency, "REMOVED_IN_A_ROUND", 4)
    for number in range(7):
        idempotency.answer_once(post(key=f"k-{number}"), caller, Work())
    ApiCall.objects.exclude(key="k-6").update(created_at=timezone.now() - timedelta(days=1, seconds=1))
    assert [idempotency.tidy() for _ in range(3)] == [4, 2, 0]
    assert ApiCall.objects.get().key == "k-6"


def at_once(caller: Caller, count: int) -> tuple[int, list[HttpResponse | Refused]]:
    """Send the same request from many threads together; return how often it was carried out, and the answers."""
    start, lock, done = threading.Barrier(count), threading.Lock(), []

    def work() -> HttpResponse:
        with lock:
            done.append(uuid.uuid4())
        return JsonResponse({"code": str(done[-1])}, status=201)

    def one(_: int) -> Any:
        start.wait(timeout=30)
        try:
            return idempotency.answer_once(post(), caller, work)
        except Refused as refusal:
            return refusal
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(one, range(count)))
    return len(done), answers


@pytest.mark.django_db(transaction=True)
def test_looking_first_would_carry_out_several(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Barrier(20)

    def naive(caller: Caller, key: str, request: HttpRequest, sha256: str) -> tuple[ApiCall, bool]:
        found = ApiCall.objects.filter(workspace=caller.workspace, key=key).first()
        connection.close()  # a pool has fewer than there are threads
        looked.wait(timeout=30)
        return found or ApiCall(workspace=caller.workspace, api_key=caller.key, key=key), found is None

    monkeypatch.setattr(idempotency, "claim", naive)
    count, _ = at_once(caller, 20)
    assert count == 20


@pytest.mark.django_db(transaction=True)
def test_of_twenty_at_once_exactly_one_is_carried_out(caller: Caller) -> None:
    count, answers = at_once(caller, 20)
    assert count == 1
    bodies = {answer.content for answer in answers if isinstance(answer, HttpResponse)}
    refused = [answer for answer in answers if isinstance(answer, Refused)]
    assert len(bodies) == 1 and all(one.status == 409 and "Retry-After" in one.headers for one in refused)
    assert idempotency.answer_once(post(), caller, Work()).content in bodies
