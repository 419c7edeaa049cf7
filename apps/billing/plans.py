"""Plans, meters and top-ups: the only place with limits and prices. Code, not rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from django.conf import settings

CURRENCY = "usd"
GB = 1_000_000_000


@dataclass(frozen=True)
class Meter:
    """A thing that is counted, always as whole numbers of ``unit``.

    ``held`` meters count what is there now; the others what was used up in a period.
    """

    slug: str
    name: str  # for people, in lower case
    unit: str
    held: bool = False


@dataclass(frozen=True)
class Plan:
    """What a subscription allows. A limit of None is any amount; ``price`` is in cents a month, None: not for sale."""

    slug: str
    name: str
    summary: str
    price: int | None
    limits: Mapping[str, int | None]
    jobs_at_once: int | None  # of each queue; 0 is any number, None what the site's settings say
    weight: int  # turns in the queues for each turn of a workspace of weight 1
    retention_days: int | None  # 0 is for ever, None what the site's settings say
    formats: tuple[str, ...]  # of results
    trial_days: int = 0

    @property
    def rank(self) -> int:
        """Its place among all plans: a change to a higher one is an upgrade."""
        return list(PLANS).index(self.slug)

    @property
    def is_for_sale(self) -> bool:
        """Say whether Stripe sells it."""
        return bool(self.price)


@dataclass(frozen=True)
class TopUp:
    """Something of one meter, bought once and used after the plan's allowance; ``price`` in cents."""

    slug: str
    name: str
    meter: str
    amount: int
    price: int
    valid_days: int = 365


Thing = TypeVar("Thing", Meter, Plan, TopUp)


def _by_slug(*things: Thing) -> Mapping[str, Thing]:
    return MappingProxyType({thing.slug: thing for thing in things})


METERS = _by_slug(
    Meter("train_minutes", "training", "min"),
    Meter("convert_seconds", "conversion", "s"),
    Meter("tts_characters", "text to speech", "characters"),
    Meter("live_seconds", "live conversion", "s"),
    Meter("voices", "voices", "voices", held=True),
    Meter("seats", "seats", "people", held=True),
    Meter("storage_bytes", "storage", "bytes", held=True),
)
PERIOD_METERS = tuple(slug for slug, meter in METERS.items() if not meter.held)
# What nobody can use before the site makes it; no page speaks of these.
NOT_YET = frozenset({"tts_characters", "live_seconds"})
_COMPRESSED, _ALL = ("wav16", "mp3", "ogg", "m4a"), ("wav16", "wav24", "flac", "mp3", "ogg", "m4a")
PLANS = _by_slug(
    Plan(
        slug="free",
        name="Free",
        summary="Make a voice and try it.",
        price=0,
        limits={
            "train_minutes": 30,
            "convert_seconds": 600,
            "tts_characters": 10_000,
            "live_seconds": 300,
            "voices": 2,
            "seats": 1,
            "storage_bytes": 1 * GB,
        },
        jobs_at_once=1,
        weight=1,
        retention_days=14,
        formats=_COMPRESSED,
    ),
    Plan(
        slug="creator",
        name="Creator",
        summary="For one person who publishes.",
        price=1_200,
        limits={
            "train_minutes": 300,
            "convert_seconds": 5 * 3600,
            "tts_characters": 100_000,
            "live_seconds": 2 * 3600,
            "voices": 10,
            "seats": 2,
            "storage_bytes": 20 * GB,
        },
        jobs_at_once=2,
        weight=2,
        retention_days=30,
        formats=_ALL,
        trial_days=14,
    ),
    Plan(
        slug="studio",
        name="Studio",
        summary="For a team that makes records, games or films.",
        price=4_900,
        limits={
            "train_minutes": 1_500,
            "convert_seconds": 30 * 3600,
            "tts_characters": 500_000,
            "live_seconds": 10 * 3600,
            "voices": 50,
            "seats": 10,
            "storage_bytes": 200 * GB,
        },
        jobs_at_once=4,
        weight=4,
        retention_days=90,
        formats=_ALL,
    ),
    Plan(
        slug="scale",
        name="Scale",
        summary="For a product built on the API.",
        price=19_900,
        limits={
            "train_minutes": 7_500,
            "convert_seconds": 150 * 3600,
            "tts_characters": 2_500_000,
            "live_seconds": 50 * 3600,
            "voices": 500,
            "seats": 50,
            "storage_bytes": 2_000 * GB,
        },
        jobs_at_once=16,
        weight=8,
        retention_days=365,
        formats=_ALL,
    ),
    Plan(
        slug="unlimited",
        name="Unlimited",
        summary="Everything this site has; for whoever runs it.",
        price=None,
        limits=dict.fromkeys(METERS),
        jobs_at_once=None,
        weight=1,
        retention_days=None,
        formats=_ALL,
    ),
)
TOP_UPS = _by_slug(
    TopUp("convert-1h", "1 h of conversion", "convert_seconds", 3600, 500),
    TopUp("convert-10h", "10 h of conversion", "convert_seconds", 36_000, 4_000),
    TopUp("train-2h", "2 h of training", "train_minutes", 120, 600),
)


def smallest_with(format_name: str) -> Plan:
    """Return the first plan whose results can have the format."""
    return next(plan for plan in PLANS.values() if format_name in plan.formats)


def default_plan() -> Plan:
    """Return the plan of a workspace that has no subscription."""
    return PLANS[settings.DEFAULT_PLAN]
