"""How HTTP reaches Django: each request whole in one thread, out of a pool that stays.

Django's own ASGI handler changes threads wherever middleware or views that wait meet those that do not, starts a thread
for each request and ends it, and opens a database connection in each. Where both cores are busy every change of
threads waits for its turn anew. Nearly all views here do not wait, so the request goes into a thread once and comes
back once; those that wait, and streams, are waited for in the event loop as before (docs/performance.md has figures).
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import IO

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import FileResponse, HttpResponseBase
from django.urls import Resolver404, resolve, set_script_prefix

from voicecloud.limits import Receive, Scope, Send


class Handler(ASGIHandler):
    """Answers HTTP as Django's own does, with fewer threads."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = ThreadPoolExecutor(settings.REQUEST_THREADS, thread_name_prefix="request")

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the chain for threads: views that wait are adapted at its inner end."""
        super().load_middleware(is_async=False)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, answer in a thread, send; leave off when the client hangs up."""
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        tasks = [
            asyncio.create_task(self.listen_for_disconnect(receive)),
            asyncio.create_task(self._answer_and_send(scope, body, send)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()  # a view that waits learns by it that nobody listens any more
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            # Here and not in the task: a server may tell of the end as soon as the last byte is out, and cancel it.
            for outcome in outcomes:
                if isinstance(outcome, HttpResponseBase) and outcome.streaming:
                    await sync_to_async(outcome.close, thread_sensitive=False, executor=self.pool)()
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, RequestAborted | asyncio.CancelledError):
                raise outcome

    async def _answer_and_send(self, scope: Scope, body: IO[bytes], send: Send) -> HttpResponseBase:
        if _waits(scope):
            answer = sync_to_async(self._answer)  # in a thread for itself: others need those of the pool
        else:
            answer = sync_to_async(self._answer, thread_sensitive=False, executor=self.pool)
        response = await answer(scope, body)
        with contextlib.suppress(asyncio.CancelledError):
            await self.send_response(response, send)
        return response

    def _answer(self, scope: Scope, body: IO[bytes]) -> HttpResponseBase:
        """Return the answer, with what it held given back unless it is streamed: that is closed by who sends it."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=type(self), scope=scope)
        made = self.create_request(scope, body)
        try:
            response = self.get_response(made[0]) if made[0] is not None else made[1]
        except asyncio.CancelledError:
            signals.request_finished.send(sender=type(self))
            raise
        response._handler_class = type(self)  # type: ignore[attr-defined]  # the sender of request_finished
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        if not response.streaming:
            response.close()
        return response


def _waits(scope: Scope) -> bool:
    """Say whether the view at the address is one that may wait for minutes."""
    try:
        return iscoroutinefunction(resolve(scope["path"]).func)
    except Resolver404:
        return False
