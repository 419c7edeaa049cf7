"""Alice owns acme, Adam administers it, Bob edits, Victor views; Charlie is a stranger with a workspace of his own.

Sounds to try things on are functions of ``tests.sounds``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.cache import cache
from django.test import Client

from tests import own_state, swift

# Set once, before anything reads them: a manifest needs collectstatic, and a slow hash costs a second per log-in.
django_settings.STORAGES = {
    **django_settings.STORAGES,
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
django_settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# A file as in production: SQLite's memory databases answer "locked" at once where a file waits its turn.
if django_settings.DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    django_settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = str(own_state.DATA / "test.sqlite3")

PASSWORD = "correct-horse-battery"


TESTS = Path(__file__).resolve().parent
# Whole sites, whose processes need the machine to themselves to answer in the time that they promise.
ALONE = ("api/sdk", "browser", "faults", "jobs/test_resident.py", "jobs/test_worker_process.py", "test_up.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that are to run one after the other, with nothing beside them; put files with slow ones first.

    Where files run side by side one that takes minutes would otherwise begin last, with nothing left to run beside it.
    """
    for item in items:
        if any(item.path.is_relative_to(TESTS / name) for name in ALONE):
            item.add_marker("alone")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_report_header() -> str:
    return f"voicecloud: data and Valkey in {own_state.DATA}"


@pytest.fixture(autouse=True)
def _fresh_cache() -> Iterator[None]:
    """Forget rate limits and cached sessions between tests."""
    cache.clear()
    yield


def _person(email: str, name: str) -> Any:
    from allauth.account.models import EmailAddress

    from apps.accounts.models import User

    user = User.objects.create_user(email, PASSWORD, name=name)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


@pytest.fixture
def alice(db: None) -> Any:
    """Owns acme."""
    return _person("alice@example.org", "Alice")


@pytest.fixture
def adam(db: None) -> Any:
    """Administers acme."""
    return _person("adam@example.org", "Adam")


@pytest.fixture
def bob(db: None) -> Any:
    """Edits in acme."""
    return _person("bob@example.org", "Bob")


@pytest.fixture
def victor(db: None) -> Any:
    """Views acme."""
    return _person("victor@example.org", "Victor")


@pytest.fixture
def charlie(db: None) -> Any:
    """A stranger to acme, with a workspace of his own."""
    from apps.accounts.models import Membership, Role, Workspace

    user = _person("charlie@example.org", "Charlie")
    workspace = Workspace.objects.create(name="Charlie's", slug="charlies")
    Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
    return user


@pytest.fixture
def acme(alice: Any, adam: Any, bob: Any, victor: Any) -> Any:
    """The workspace most tests are about, with one member of each role."""
    from apps.accounts.models import Membership, Role, Workspace

    workspace = Workspace.objects.create(name="Acme", slug="acme")
    people = {Role.OWNER: alice, Role.ADMIN: adam, Role.EDITOR: bob, Role.VIEWER: victor}
    for role, user in people.items():
        Membership.objects.create(workspace=workspace, user=user, role=role)
    return workspace


@pytest.fixture
def charlies(charlie: Any) -> Any:
    """Charlie's workspace."""
    return charlie.workspaces.get()


@pytest.fixture(scope="session")
def bucket() -> Iterator[swift.Server]:
    """A running OpenStack Swift with one bucket, for tests that need a real object store; they are slow ones."""
    swift.skip_unless_installed()
    with swift.server() as running:
        yield running


@pytest.fixture
def storage(bucket: swift.Server, settings: Any) -> Any:
    """The site's default storage, in that bucket."""
    from django.core.files.storage import storages

    swift.use(settings, bucket)
    return storages["default"]


@pytest.fixture
def client_of() -> Callable[[Any], Client]:
    """Return a function: user (or None for nobody) -> a client that is logged in as them."""

    def make(user: Any) -> Client:
        client = Client()
        if user is not None:
            client.force_login(user)
        return client

    return make
