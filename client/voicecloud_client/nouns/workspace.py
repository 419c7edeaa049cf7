"""The key's workspace, its members, its usage, and what the site says of itself."""

from __future__ import annotations

from collections.abc import Iterator

from voicecloud_client.decoding import given
from voicecloud_client.nouns.noun import Code, Noun, at
from voicecloud_client.workspace_models import (
    Event,
    Health,
    Info,
    Invitation,
    Limits,
    Member,
    SentInvitation,
    Usage,
    Workspace,
)


class WorkspaceNoun(Noun):
    """The workspace that the key opens."""

    def get(self) -> Workspace:
        """Return it."""
        return self._wire.json(Workspace, "GET", at("workspace"))

    def change(self, *, name: str | None = None, slug: str | None = None) -> Workspace:
        """Rename it, or change its address."""
        return self._wire.json(Workspace, "PATCH", at("workspace"), body=given(name=name, slug=slug))


class Members(Noun):
    """Who is in the workspace."""

    def list(self) -> Iterator[Member]:
        """Yield all members."""
        return self._wire.items(Member, at("members"))

    def get(self, member: Code) -> Member:
        """Return one member."""
        return self._wire.json(Member, "GET", at("members", member))

    def change(self, member: Code, *, role: str) -> Member:
        """Give a member another role: admin, editor or viewer."""
        return self._wire.json(Member, "PATCH", at("members", member), body=given(role=role))

    def remove(self, member: Code) -> None:
        """Remove a member."""
        self._wire.send("DELETE", at("members", member))


class Invitations(Noun):
    """Who was asked to join."""

    def list(self) -> Iterator[Invitation]:
        """Yield the invitations that nobody has accepted yet."""
        return self._wire.items(Invitation, at("invitations"))

    def send(self, email: str, *, role: str = "editor") -> SentInvitation:
        """Invite somebody by letter."""
        return self._wire.json(SentInvitation, "POST", at("invitations"), body=given(email=email, role=role))

    def withdraw(self, invitation: Code) -> None:
        """Take an invitation back."""
        self._wire.send("DELETE", at("invitations", invitation))


class UsageNoun(Noun):
    """What was used of the plan."""

    def get(self) -> Usage:
        """Return the plan, and what there is of each meter in the current period."""
        return self._wire.json(Usage, "GET", at("usage"))

    def events(self) -> Iterator[Event]:
        """Yield the ledger: what was set aside, charged and given back."""
        return self._wire.items(Event, at("usage", "events"))


class System(Noun):
    """What the site says of itself."""

    def health(self) -> Health:
        """Return whether the site answers."""
        return self._wire.json(Health, "GET", at("health"))

    def info(self) -> Info:
        """Return what the site is and what can be chosen."""
        return self._wire.json(Info, "GET", at("info"))

    def limits(self) -> Limits:
        """Return what the site and the workspace's plan take at most."""
        return self._wire.json(Limits, "GET", at("limits"))
