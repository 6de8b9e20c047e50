"""Rates over a training as an inline SVG."""

from __future__ import annotations

from lsseq.boundaries.draw.excerpt import Rates

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM = 640, 200, 40, 70, 24
"""Room at the right is for the names of the curves."""


def rate_curves(rates: Rates) -> str:
    """A curve for each detector, from rate 0 to 1."""
    first, last = rates.steps[0], rates.steps[-1]

    def point(step: int, rate: float) -> str:
        x = LEFT + (WIDTH - RIGHT - LEFT) * (step - first) / max(1, last - first)
        return f"{x:.1f},{(HEIGHT - BOTTOM) * (1 - rate):.1f}"

    curves = []
    for layer in range(len(rates.rates[0])):
        points = " ".join(point(step, rate[layer]) for step, rate in zip(rates.steps, rates.rates, strict=True))
        curves.append(f'<polyline class="c{layer % 4 + 1}" points="{points}"/>')
    below = 0.0
    for layer in sorted(range(len(curves)), key=rates.rates[-1].__getitem__):
        # A name stands at the end of its curve, above those that end lower.
        below = max(below, rates.rates[-1][layer])
        y = (HEIGHT - BOTTOM) * (1 - below) + 4
        curves.append(f'<text class="c{layer % 4 + 1}" x="{WIDTH - RIGHT + 8}" y="{y:.1f}">layer {layer + 1}</text>')
        below += 15 / (HEIGHT - BOTTOM)
    ticks = "".join(
        f'<text x="{LEFT - 6}" y="{(HEIGHT - BOTTOM) * (1 - rate) + 8:.0f}" text-anchor="end">{rate:g}</text>'
        f'<path d="M{LEFT} {(HEIGHT - BOTTOM) * (1 - rate):.1f}H{WIDTH - RIGHT}"/>'
        for rate in (0.0, 0.5, 1.0)
    )
    return (
        f'<svg viewBox="0 -4 {WIDTH} {HEIGHT + 8}" role="img" aria-label="boundary rate over training steps">{ticks}'
        f'<text x="{LEFT}" y="{HEIGHT}">step {first:,}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT}" text-anchor="end">step {last:,}</text>{"".join(curves)}</svg>'
    )
