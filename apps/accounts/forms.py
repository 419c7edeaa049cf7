"""What people type about themselves and their workspaces."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils.html import format_html

from apps.accounts.models import AuditEvent, Invitation, Membership, Role, User, Workspace

ROLES = [
    (Role.ADMIN, "Admin: manages members and settings"),
    (Role.EDITOR, "Editor: makes voices and conversions"),
    (Role.VIEWER, "Viewer: looks and listens"),
]


class WorkspaceForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """A new workspace needs only a name."""

    class Meta:
        model = Workspace
        fields = ["name"]
        help_texts = {"name": "Your band, studio, company or project. You can change it later."}


class WorkspaceSettingsForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Name and address of a workspace."""

    class Meta:
        model = Workspace
        fields = ["name", "slug"]
        labels = {"slug": "Address"}
        help_texts = {"slug": "The part after /w/ in every link of this workspace. Old links stop working."}

    def clean_slug(self) -> str:
        """Keep addresses lower case, as they are typed."""
        return str(self.cleaned_data["slug"]).lower()


class InvitationForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Whom to invite, as what."""

    role = forms.ChoiceField(choices=ROLES, initial=Role.EDITOR)

    class Meta:
        model = Invitation
        fields = ["email", "role"]
        labels = {"email": "E-mail address"}
        widgets = {"email": forms.EmailInput(attrs={"autocomplete": "off"})}


class RoleForm(forms.Form):
    """Another role for a member."""

    role = forms.ChoiceField(choices=ROLES, label="Role")


class MemberField(forms.ModelChoiceField):  # type: ignore[type-arg]  # not generic at run time
    """A member, shown by name."""

    def label_from_instance(self, obj: Membership) -> str:
        """Return how the pages call the member."""
        return str(obj.user)


class TransferForm(forms.Form):
    """The member who becomes the owner."""

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        others = workspace.memberships.exclude(role=Role.OWNER).select_related("user")
        self.fields["member"] = MemberField(
            others,
            to_field_name="code",
            label="New owner",
            help_text="You become an admin. Only the new owner can undo this.",
        )


class DeleteWorkspaceForm(forms.Form):
    """Typing the name shows that it is meant."""

    name = forms.CharField(label="Name of the workspace", widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.workspace = workspace
        self.fields["name"].help_text = format_html("Type “{}” to delete it.", workspace.name)

    def clean_name(self) -> str:
        """Accept the exact name only."""
        name = str(self.cleaned_data["name"])
        if name != self.workspace.name:
            raise ValidationError(f"This is not its name. Type “{self.workspace.name}”.")
        return name


class EraseWorkspaceForm(DeleteWorkspaceForm):
    """The same, where it cannot be undone."""

    prefix = "erase"

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, workspace=workspace, **kwargs)
        self.fields["name"].help_text = format_html("Type “{}” to erase it now.", workspace.name)


class AuditFilterForm(forms.Form):
    """Which lines of the audit log are shown; days are whole ones, in UTC."""

    action = forms.CharField(label="What", required=False)
    person = forms.CharField(label="Who", required=False)
    since = forms.DateField(label="From", required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))
    until = forms.DateField(label="To", required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        lines = AuditEvent.objects.filter(workspace=workspace).order_by()
        actions = sorted(set(lines.values_list("action", flat=True).distinct()))
        people = sorted(set(lines.exclude(user=None).values_list("user__email", flat=True).distinct()))
        for name, found in (("action", actions), ("person", people)):
            choices = [("", "everything" if name == "action" else "everybody"), *((one, one) for one in found)]
            self.fields[name].widget = forms.Select(choices=choices)

    @property
    def chosen(self) -> Q:
        """The condition on lines that was chosen."""
        found, sent = Q(), self.cleaned_data
        for name, column in (("action", "action"), ("person", "user__email"), ("since", "created_at__date__gte")):
            if sent[name]:
                found &= Q(**{column: sent[name]})
        return found & Q(created_at__date__lte=sent["until"]) if sent["until"] else found


class EraseAccountForm(forms.Form):
    """Typing one's address shows that it is meant."""

    email = forms.EmailField(label="Your e-mail address", widget=forms.EmailInput(attrs={"autocomplete": "off"}))

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        self.fields["email"].help_text = format_html("Type “{}” to delete your account.", user.email)

    def clean_email(self) -> str:
        """Accept one's own address only, however it is capitalised."""
        email = str(self.cleaned_data["email"]).lower()
        if email != self.user.email:
            raise ValidationError(f"This is not your address. Type “{self.user.email}”.")
        return email


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """How a person is called on the pages of their workspaces, and which letters they get."""

    class Meta:
        model = User
        fields = ["name", "mail_when_ready"]
        help_texts = {
            "name": "Shown to the members of your workspaces instead of your e-mail address.",
            "mail_when_ready": "About trainings and conversions that took longer than two minutes.",
        }
