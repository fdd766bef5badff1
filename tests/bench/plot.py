"""Draws seconds against gigabytes as SVG: points, and the line fitted to them. Used by `page`."""

from results import fit

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 190, 20, 50


def plot(series):
    """`series`: name, colour and points (megabytes, seconds) of each."""
    most_x = max(x for _, _, points in series for x, _ in points)
    most_y = max(y for _, _, points in series for _, y in points) * 1.05

    def place(x, y):
        return LEFT + x / most_x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / most_y * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
             f'<title>Seconds of a build against the size of the tree</title><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    right, base = place(most_x, 0)
    for y in ticks(most_y):
        at = place(0, y)[1]
        parts.append(f'<path d="M{LEFT} {at:.1f}H{right:.1f}" stroke="#ddd"/><text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end" fill="#333">{y:g} s</text>')
    for x in ticks(most_x / 1000):
        at = place(x * 1000, 0)[0]
        parts.append(f'<path d="M{at:.1f} {base:.1f}v5" stroke="#333"/><text x="{at:.1f}" y="{base + 20:.1f}" text-anchor="middle" fill="#333">{x:g} GB</text>')
    parts.append(f'<path d="M{LEFT} {base:.1f}H{right:.1f}" stroke="#333"/>')
    labels = []
    for name, colour, points in series:
        if len(points) > 2:
            fixed, each, _ = fit(points)
            (x1, y1), (x2, y2) = place(0, max(fixed, 0)), place(most_x, fixed + each * most_x)
            parts.append(f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}" stroke-opacity=".5" fill="none"/>')
        for point in points:
            x, y = place(*point)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        labels.append((place(*points[-1])[1], name, colour))
    # Labels stand beside the last points, one line apart at least.
    lowest = TOP - 18
    for y, name, colour in sorted(labels):
        lowest = max(y, lowest + 18)
        parts.append(f'<text x="{right + 12:.1f}" y="{lowest + 4:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks(most):
    """Some round values from 0 to `most`."""
    step = next(power * factor for power in (0.1, 1, 10, 100, 1000) for factor in (1, 2, 5) if most / (power * factor) <= 8)
    return [step * number for number in range(int(most / step) + 1)]
