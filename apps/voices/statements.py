"""The words of a consent, composed from what was chosen: what is shown is what is kept."""

from __future__ import annotations

from datetime import date


def compose(
    *,
    full_name: str,
    voice: str,
    workspace: str,
    is_own_voice: bool,
    speech: bool,
    singing: bool,
    commercial: bool,
    expires_on: date | None,
) -> str:
    """Return the exact statement to agree to.

    ``full_name`` is the speaker's: of the person who agrees, or of somebody whose permission they hold.
    """
    uses = " and ".join(word for word, chosen in (("speech", speech), ("singing", singing)) if chosen)
    trade = "also for commercial purposes" if commercial else "not for commercial purposes"
    end = f"This consent ends on {expires_on:%d %B %Y}" if expires_on else "This consent has no end date"
    if is_own_voice:
        opening = f"I, {full_name}, agree that recordings of my own voice are used in the workspace “{workspace}”"
        withdraw = "I may withdraw it at any time"
    else:
        opening = (
            f"I declare that {full_name} has given me permission, which I can show on request, to use recordings of "
            f"their voice in the workspace “{workspace}”"
        )
        withdraw = "It may be withdrawn at any time, and I will do so when they ask me to"
    return (
        f"{opening} to train a synthetic voice called “{voice}”. The synthetic voice may be used for {uses}, {trade}. "
        f"{end}. {withdraw}; from then on nothing new is trained or made with the voice."
    )
