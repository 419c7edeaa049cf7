"""The schedules of a local Stripe: phases in which a subscription has other prices, discounts and taxes."""

from __future__ import annotations

from tests.stripe_rows import LIVE, SHAPES, Json, Rows, next_period
from tests.stripe_validation import Invalid


class Schedules(Rows):
    """Rows with schedules, which are let go of or come to their next phase."""

    def schedule(self, row: Json) -> Json:
        """Put a subscription under a schedule whose one phase is its current period."""
        if row["schedule"]:
            raise Invalid("You cannot migrate a subscription that is already attached to a schedule.")
        if row["status"] not in LIVE:
            raise Invalid("You cannot create a schedule from a subscription that has ended.")
        item = row["items"]["data"][0]
        phase = self._phase(item["price"]["id"], item["current_period_start"], item["current_period_end"], {})
        phase["discounts"] = [self._discount(discount=code) for code in row["discounts"]]
        phase |= {name: row[name] for name in ("automatic_tax", "default_tax_rates")}
        phase["trial_end"] = row["trial_end"] if row["status"] == "trialing" else None
        made = self.make(
            "subscription_schedule",
            customer=row["customer"],
            subscription=row["id"],
            status="active",
            phases=[phase],
            current_phase={"start_date": phase["start_date"], "end_date": phase["end_date"]},
            canceled_at=None,
            completed_at=None,
            released_at=None,
            end_behavior="cancel" if row["cancel_at_period_end"] else "release",
        )
        row["schedule"] = made["id"]
        self.emit("subscription_schedule.created", made)
        self.emit("customer.subscription.updated", row)
        return made

    def _phase(self, price: str, start: int, end: int, metadata: Json) -> Json:
        phase: Json = {**SHAPES["subscription_schedule"]["phases"][0], "start_date": start, "end_date": end}
        item = {**phase["items"][0], "price": price, "plan": price, "billing_thresholds": None}
        return {**phase, "items": [item], "metadata": metadata, "transfer_data": None, "billing_thresholds": None}

    @staticmethod
    def _discount(**given: str) -> Json:
        return {"coupon": None, "discount": None, "promotion_code": None} | given

    def _terms_of(self, row: Json, given: Json, where: str) -> Json:
        """Return the discounts and taxes of a phase: what is not given it does not have."""
        discounts = given.get("discounts") or []
        for number, one in enumerate(discounts):
            if len(one) != 1:
                raise Invalid("Give one of coupon, discount and promotion_code.", param=f"{where}[discounts][{number}]")
            if "discount" in one and one["discount"] not in row["discounts"]:
                raise Invalid(f"No such discount: '{one['discount']}'", param=f"{where}[discounts][{number}]")
        tax = {**row["automatic_tax"], "enabled": given.get("automatic_tax", {}).get("enabled", False)}
        return {
            "discounts": [self._discount(**one) for one in discounts],
            "automatic_tax": tax,
            "default_tax_rates": given.get("default_tax_rates") or [],
        }

    @staticmethod
    def _take_terms(row: Json, phase: Json) -> None:
        row["discounts"] = [one["discount"] for one in phase["discounts"] if one["discount"]]
        row["automatic_tax"], row["default_tax_rates"] = phase["automatic_tax"], phase["default_tax_rates"]

    def reschedule(self, made: Json, given: Json) -> None:
        """Give a schedule other phases: the current one first, as it is."""
        self._check_active(made, "update")
        if "phases" in given:
            start, phases = made["current_phase"]["start_date"], []
            for number, wanted in enumerate(given["phases"]):
                where = f"phases[{number}]"
                if wanted.get("start_date", start) != start:
                    raise Invalid("Phases must follow each other without a gap.", param=f"{where}[start_date]")
                if "end_date" in wanted and "duration" in wanted:
                    raise Invalid("Only one of end_date and duration can be given.", param=where)
                end = wanted.get("end_date") or next_period(start, start)
                price = wanted["items"][0].get("price", "")
                if self.get(price, "price") is None:
                    raise Invalid(f"No such price: '{price}'", param=f"{where}[items][0][price]")
                terms = self._terms_of(self.by_id[made["subscription"]], wanted, where)
                phases.append(self._phase(price, start, end, wanted.get("metadata", {})) | terms)
                start = end
            if len(given["phases"]) > 1 and "end_date" not in given["phases"][0]:
                raise Invalid("The current phase needs its end.", param="phases[0][end_date]")
            made["phases"] = phases
            self._take_terms(self.by_id[made["subscription"]], phases[0])
        made["end_behavior"] = given.get("end_behavior", made["end_behavior"])
        made["metadata"] |= given.get("metadata") or {}
        self.emit("subscription_schedule.updated", made)

    def release(self, made: Json) -> None:
        """Let a subscription go on without its schedule, as it is now."""
        self._check_active(made, "release")
        row = self.by_id[made["subscription"]]
        row["schedule"] = None
        made.update(
            status="released",
            released_at=self.now,
            released_subscription=row["id"],
            subscription=None,
            current_phase=None,
        )
        self.emit("subscription_schedule.released", made)
        self.emit("customer.subscription.updated", row)

    @staticmethod
    def _check_active(made: Json, verb: str) -> None:
        if made["status"] not in ("not_started", "active"):
            raise Invalid(
                f"You cannot {verb} a subscription schedule that is currently in the `{made['status']}` status."
            )

    def _enter_phase(self, row: Json, item: Json, moment: int) -> None:
        made = self.get(row["schedule"] or "", "subscription_schedule")
        if made is None:
            return
        phase = next((phase for phase in made["phases"] if phase["start_date"] == moment), None)
        if phase is None:
            made.update(status="released", released_at=moment, released_subscription=row["id"], current_phase=None)
            row["schedule"] = made["subscription"] = None
            self.emit("subscription_schedule.released", made)
            return
        item["price"] = self.by_id[phase["items"][0]["price"]]
        self._take_terms(row, phase)
        made["current_phase"] = {"start_date": phase["start_date"], "end_date": phase["end_date"]}
        self.emit("subscription_schedule.updated", made)
