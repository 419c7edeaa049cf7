from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.billing import stripe
from apps.billing.services import catalog, sync
from apps.errors import Refused


class Command(BaseCommand):
    help = (
        "Make or check the products and prices that this site sells at Stripe; with --subscriptions ask for those too."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take whether every subscription is fetched again."""
        parser.add_argument("--subscriptions", action="store_true", help="fetch every workspace's subscription again")

    def handle(self, *args: Any, subscriptions: bool, **options: Any) -> None:
        """Say what was done, a line each."""
        if not stripe.is_on():
            raise CommandError("STRIPE_SECRET_KEY is not set: there is nothing to do.")
        try:
            done = catalog.ensure()
        except Refused as refusal:
            raise CommandError(refusal.message) from refusal
        for line in done or ["Products and prices are as they should be."]:
            self.stdout.write(line)
        if subscriptions:
            try:
                counts = sync.sync_all()
            except Refused as refusal:
                raise CommandError(refusal.message) from refusal
            if counts["found"]:
                self.stdout.write(f"{counts['found']} customers found again.")
            self.stdout.write(f"{counts['synced']} subscriptions fetched again, {counts['failed']} failed.")
            if counts["failed"]:
                raise CommandError("Some could not be fetched; the log says which.")
