from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection, transaction

from apps.accounts.models import User

LOCK_SECONDS = 5
MIGRATION_LOCK = 0x766F696365  # any number that nothing else in this database uses


class Command(BaseCommand):
    help = "Bring the database and the static files up to date; done before each start, quick when nothing changed."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take whether to make a first log-in."""
        parser.add_argument("--first-login", action="store_true", help="make a staff user when there is no user at all")

    def handle(self, *args: Any, first_login: bool, **options: Any) -> None:
        """Migrate, collect static files if any changed, make and print the first log-in if asked."""
        with one_at_a_time():
            call_command("migrate", verbosity=0, interactive=False)
        stamp = settings.DATA_DIR / "static.stamp"
        digest = static_digest()
        if not stamp.exists() or stamp.read_text() != digest:
            call_command("collectstatic", verbosity=0, interactive=False, clear=True)
            stamp.write_text(digest)
        if first_login and not User.objects.exists():
            email, password = make_first_login()
            self.stdout.write(f"First log-in (shown only now): {email}  password: {password}")


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let machines that are updated together migrate one after the other, and none hold up a site that goes on.

    On PostgreSQL a statement waits for a table no longer than LOCK_SECONDS, as all others would queue up behind it; the
    migration then fails as a whole and can be started again.
    """
    if connection.vendor != "postgresql":
        yield  # SQLite's own lock does it, on the one machine there is
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        cursor.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        try:
            yield
        finally:
            cursor.execute("RESET lock_timeout")
            cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])


def static_digest() -> str:
    """Return a hash over the names, sizes and times of all static files of the site and its packages."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for path, storage in sorted(finder.list([]), key=lambda found: str(found[0])):
            facts = f"{path}\0{storage.size(path)}\0{storage.get_modified_time(path).timestamp()}\n"
            digest.update(facts.encode())
    return digest.hexdigest()


@transaction.atomic
def make_first_login() -> tuple[str, str]:
    """Make a staff user with a proved address, a personal workspace and a random password; return both to be told."""
    from allauth.account.models import EmailAddress

    from apps.accounts.services import create_workspace

    email, password = "admin@localhost", secrets.token_urlsafe(12)
    user = User.objects.create_superuser(email, password, name="Admin")
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    create_workspace(user=user, name="Admin", personal=True)
    return email, password
