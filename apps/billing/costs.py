"""What something is going to cost, said before it is started."""

from __future__ import annotations

from dataclasses import dataclass

from apps.accounts.models import Workspace
from apps.billing import amounts
from apps.billing.plans import METERS
from apps.billing.services import ledger
from apps.billing.services.ledger import Balance


@dataclass(frozen=True)
class Cost:
    """An amount of a meter beside what is left of it; ``amount`` None is not known yet."""

    balance: Balance
    amount: int | None = None

    @property
    def is_too_much(self) -> bool:
        """Say whether less is left."""
        left = self.balance.left
        return left is not None and (self.amount or 1) > left

    @property
    def sentence(self) -> str:
        """Say it: ``Uses 42 s of your 9 min 18 s left until 3 December.``"""
        meter, left = self.balance.meter, self.balance.left
        name, wanted = METERS[meter].name, self.amount
        if left is None:
            return (
                ""
                if wanted is None
                else f"Uses {amounts.shown(meter, wanted)} of {name}, which your plan does not limit."
            )
        until, rest = amounts.day(self.balance.period.end), amounts.shown(meter, left)
        if wanted is None:
            return f"You have {rest} of {name} left until {until}."
        if self.is_too_much:
            return f"This takes {amounts.shown(meter, wanted)} of {name} and {rest} is left until {until}."
        return f"Uses {amounts.shown(meter, wanted)} of your {rest} left until {until}."


def cost(workspace: Workspace, meter: str, amount: int | None = None) -> Cost:
    """Return what ``amount`` of a meter means to the workspace now."""
    return Cost(ledger.balance(workspace, meter), amount)
