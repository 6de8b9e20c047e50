"""Rates over a training as an inline SVG."""

from __future__ import annotations

from lsseq.boundaries.draw.excerpt import Rates

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 200, 40, 24


def rate_curves(rates: Rates) -> str:
    """A curve for each detector, from rate 0 to 1."""
    first, last = rates.steps[0], rates.steps[-1]

    def point(step: int, rate: float) -> str:
        x = LEFT + (WIDTH - LEFT) * (step - first) / max(1, last - first)
        return f"{x:.1f},{(HEIGHT - BOTTOM) * (1 - rate):.1f}"

    curves = []
    for layer in range(len(rates.rates[0])):
        points = " ".join(point(step, rate[layer]) for step, rate in zip(rates.steps, rates.rates, strict=True))
        curves.append(
            f'<polyline class="c{layer % 4 + 1}" points="{points}"><title>layer {layer + 1}</title></polyline>'
        )
    ticks = "".join(
        f'<text x="{LEFT - 6}" y="{(HEIGHT - BOTTOM) * (1 - rate) + 8:.0f}" text-anchor="end">{rate:g}</text>'
        f'<path d="M{LEFT} {(HEIGHT - BOTTOM) * (1 - rate):.1f}H{WIDTH}"/>'
        for rate in (0.0, 0.5, 1.0)
    )
    return (
        f'<svg viewBox="0 -4 {WIDTH} {HEIGHT + 8}" role="img" aria-label="boundary rate over training steps">{ticks}'
        f'<text x="{LEFT}" y="{HEIGHT}">step {first:,}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT}" text-anchor="end">step {last:,}</text>{"".join(curves)}</svg>'
    )
