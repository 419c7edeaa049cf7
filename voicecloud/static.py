"""The static files: their addresses, and their answers, for which Django is not needed."""

from __future__ import annotations

from wsgiref.headers import Headers

from django.conf import settings
from servestatic.asgi import FileServerASGI
from servestatic.middleware import ServeStaticMiddleware
from servestatic.storage import CompressedManifestStaticFilesStorage

from voicecloud.limits import Receive, Scope, Send


class Storage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # has no types
    """Works out each address once: a page names thirty, and none changes while a process runs."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._known: dict[str, str] = {}

    def url(self, name: str, force: bool = False) -> str:
        """Return where a file is served."""
        if settings.DEBUG or force:
            return str(super().url(name, force))
        if name not in self._known:
            self._known[name] = super().url(name)
        return self._known[name]


class Static(ServeStaticMiddleware):  # type: ignore[misc]  # has no types
    """Answers for the static files, which need no thread, and hands all else on.

    It stands before Django instead of among its middleware, where it would part the chain of threads in two.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.files.get(scope["path"])
        await (self.get_response if found is None else FileServerASGI(found))(scope, receive, send)

    def add_cache_headers(self, headers: Headers, path: str, url: str) -> None:
        """Add to each file's headers, once at the start, what all other answers get of SecurityMiddleware."""
        super().add_cache_headers(headers, path, url)
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = settings.SECURE_REFERRER_POLICY
        headers["Cross-Origin-Opener-Policy"] = settings.SECURE_CROSS_ORIGIN_OPENER_POLICY
