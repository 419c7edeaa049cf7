"""What each figure of an evaluation means, and the bars that it is held against: the only place that has them.

The first bar is what the first release of the engine had to reach, the second what it is being built towards, both as
means over voices at the default settings. Natural speech and unconverted sources are measured anew in each evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One figure: the key of its rows, how it is called, what it means, and what is to be reached.

    `axis` is the range that plots show at least. `higher`: more is better. `reference` is the key of the unconverted
    source's own figure, `natural` that of natural speech where it follows from the metric's definition.
    """

    key: str
    label: str
    meaning: str
    axis: tuple[float, float]
    higher: bool = True
    digits: int = 2
    first: float | None = None
    target: float | None = None
    reference: str = ""
    natural: float | None = None


FIRST_BAR = "first bar: what the first release had to reach"
TARGET_BAR = "target bar: what the engine is being built towards"

SILENCE_BAR_DB = -60.0
"""The loudest that a result may be where its source is silent."""

METRICS: tuple[Metric, ...] = (
    Metric(
        "secs", "SECS",
        "Resemblyzer's cosine of the result with the mean of the speaker's own recordings (GE2E, Wan et al., 2018).",
        (0.4, 1.0), digits=3, first=0.70, target=0.82, reference="unconverted_secs",
    ),
    Metric(
        "margin", "SECS margin",
        "SECS minus the same cosine with the source: over 0, the result is nearer to the voice than to who spoke.",
        (0.0, 0.5), digits=3, first=0.08, target=0.30,
    ),
    Metric(
        "source_secs", "SECS to the source",
        "The same cosine with the source: what is left of who spoke.",
        (0.4, 1.0), higher=False, digits=3,
    ),
    Metric(
        "per_ratio", "PER x",
        "PocketSphinx's phone errors against the transcript, times those it makes on the natural source.",
        (0.0, 3.0), higher=False, first=2.6, target=1.4, natural=1.0,
    ),
    Metric(
        "heard_per", "PER of what was heard",
        "Phone errors against what PocketSphinx hears in the source itself, where there is no transcript.",
        (0.0, 1.0), higher=False, natural=0.0,
    ),
    Metric(
        "f0_correlation", "F0 correlation",
        "SwiftF0's pitch of the result with that of the source, moved by the shift of the conversion (Pearson, log).",
        (0.8, 1.0), digits=3, first=0.94, target=0.98, natural=1.0,
    ),
    Metric(
        "f0_cents", "F0 error, cents",
        "Root mean square distance of the same two contours.",
        (0.0, 100.0), higher=False, digits=0, first=70.0, target=30.0, natural=0.0,
    ),
    Metric(
        "fcpe_correlation", "F0 correlation by FCPE",
        "The same by a tracker that the engine does not follow; counts also what the two trackers disagree on.",
        (0.8, 1.0), digits=3, natural=1.0,
    ),
    Metric(
        "overall", "OVRL",
        "DNSMOS P.835 overall quality, 1 to 5 (Reddy et al., 2022).",
        (2.0, 4.0), first=2.9, target=3.1, reference="source_overall",
    ),
    Metric(
        "p808", "P.808",
        "DNSMOS P.808 quality, 1 to 5 (Reddy et al., 2021).",
        (2.0, 4.5), first=3.2, target=3.65, reference="source_p808",
    ),
    Metric(
        "own_secs", "Likeness, own encoder",
        "Cosine with the voice by the engine's own speaker encoder, which the voice was made with: no judge.",
        (0.0, 1.0), digits=3,
    ),
)  # fmt: skip

CHECKS: dict[str, str] = {
    "length_error": "Samples that the result has more or fewer than its source; 0 wanted. Of several, the worst.",
    "silence_db": f"Level where the source is silent; under {SILENCE_BAR_DB:.0f} dB wanted. Of several, the loudest.",
    "clicks": "Jumps that their neighbourhood does not explain; compare with the source's own.",
    "source_clicks": "The same in the sources: lips and microphones click too.",
}
