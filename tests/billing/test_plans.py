"""Plans are whole, grow, and stand in the docs as they are in the code."""

from __future__ import annotations

from apps.billing import offers
from apps.billing.plans import METERS, PERIOD_METERS, PLANS, TOP_UPS, smallest_with
from apps.billing.templatetags.billing_words import price
from apps.studio.options import FORMATS
from tests.stack import ROOT

SOLD = [plan for plan in PLANS.values() if plan.price is not None]


def test_every_plan_says_something_of_every_meter() -> None:
    for plan in PLANS.values():
        assert set(plan.limits) == set(METERS), plan.slug
        assert set(plan.formats) <= set(FORMATS), plan.slug
        assert plan.weight >= 1


def test_each_plan_holds_at_least_what_the_cheaper_one_does() -> None:
    for small, large in zip(SOLD, SOLD[1:], strict=False):
        assert (large.price or 0) > (small.price or 0) and large.rank > small.rank
        assert set(small.formats) <= set(large.formats)
        for meter in METERS:
            assert (large.limits[meter] or 0) >= (small.limits[meter] or 0), (large.slug, meter)
        changes = {line.change for line in offers.lines_of(large, small)}
        assert "less" not in changes and "more" in changes


def test_every_format_is_made_by_some_plan() -> None:
    assert {smallest_with(name).slug for name in FORMATS} == {"free", "creator"}


def test_top_ups_are_of_what_is_used_up() -> None:
    for top_up in TOP_UPS.values():
        assert top_up.meter in PERIOD_METERS and top_up.amount > 0 and top_up.price > 0


def test_the_docs_have_the_same_figures() -> None:
    text = (ROOT / "docs" / "billing.md").read_text()
    rows = {
        cells[0]: cells[1:]
        for line in text.splitlines()
        if line.startswith("|") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 1 + len(SOLD)
    }
    assert rows[""] == [plan.name for plan in SOLD]
    assert rows["Price"] == [price(plan.price or 0) for plan in SOLD]
    lines = [{line.name: line.value for line in offers.lines_of(plan)} for plan in SOLD]
    for name in lines[0].keys() - {"Formats"}:
        assert rows[name] == [found[name] for found in lines], name
