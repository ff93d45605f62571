"""SVG by hand."""

import math
from html import escape

from places import TITLES

COLOURS = {"ext4": "#1f77b4", "xfs": "#d95f02", "btrfs": "#1b9e77"}
STYLE = ("<style>text{font:12px system-ui,sans-serif;fill:#333}.t{font-weight:600;font-size:14px}"
         ".g{stroke:#ddd}.l{fill:none;stroke-width:2}</style>")


def page(width, height, body):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
            f'{STYLE}<rect width="{width}" height="{height}" fill="#fff"/>\n' + "\n".join(body) + "\n</svg>\n")


def text(x, y, words, anchor="start", kind=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def time(seconds):
    return f"{seconds:,.3g} s" if seconds >= 1 else f"{seconds * 1e3:,.3g} ms"


def decades(least, most):
    return [10.0 ** n for n in range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)]


def growth(results):
    """Time by number of segments, both logarithmic."""
    series = [(kind, name, points) for kind, found in results.items() for name, points in found.growth.items()]
    if not series:
        return None
    width, height, left, right, top, bottom = 760, 420, 70, 190, 40, 50
    sizes = sorted({n for _, _, points in series for n in points})
    ticks = decades(min(min(p.values()) for _, _, p in series), max(max(p.values()) for _, _, p in series))
    across = math.log(sizes[-1] / sizes[0]) or 1
    x = lambda n: left + (width - left - right) * math.log(n / sizes[0]) / across
    y = lambda s: height - bottom - (height - top - bottom) * math.log(s / ticks[0]) / math.log(ticks[-1] / ticks[0])
    body = [text(left, 22, "A snapshot of which nothing changed, by the number of segments", kind="t")]
    for tick in ticks:
        body += [f'<path class="g" d="M{left} {y(tick):.1f}H{width - right}"/>', text(left - 8, y(tick) + 4, time(tick), "end")]
    body += [text(x(n), height - bottom + 20, f"{n:,}", "middle") for n in sizes]
    body.append(text((left + width - right) / 2, height - 10, "segments of three files", "middle"))
    for at, (kind, name, points) in enumerate(series):
        dash = "" if name.startswith("cowlog") else ' stroke-dasharray="5 4"'
        line = "L".join(f"{x(n):.1f} {y(s):.1f}" for n, s in sorted(points.items()))
        colour, key = COLOURS[kind], top + 20 * at
        body.append(f'<path class="l" stroke="{colour}"{dash} d="M{line}"/>')
        body += [f'<circle cx="{x(n):.1f}" cy="{y(s):.1f}" r="3" fill="{colour}"/>' for n, s in points.items()]
        body.append(f'<path class="l" stroke="{colour}"{dash} d="M{width - right + 14} {key}h28"/>')
        body.append(text(width - right + 48, key + 4, f"{name}, {TITLES[kind]}"))
    return page(width, height, body)


def peers(results):
    """One bar for each peer on each filesystem, logarithmic."""
    found = {kind: f.peers for kind, f in results.items() if f.peers}
    if not found:
        return None
    names = list(dict.fromkeys(name for peers in found.values() for name in peers))
    values = [s for peers in found.values() for s in peers.values()]
    ticks = decades(min(values), max(values))
    width, left, right, top, bar, gap = 790, 240, 80, 50, 16, 12
    group = bar * len(found) + gap
    height = top + group * len(names) + 50
    x = lambda s: left + (width - left - right) * math.log(s / ticks[0]) / math.log(ticks[-1] / ticks[0])
    body = [text(10, 22, "A snapshot of which nothing changed, by what takes it", kind="t")]
    for tick in ticks:
        body += [f'<path class="g" d="M{x(tick):.1f} {top - 8}V{height - 40}"/>',
                 text(x(tick), height - 22, time(tick), "middle")]
    for row, name in enumerate(names):
        y = top + row * group
        body.append(text(left - 10, y + bar * len(found) / 2 + 4, name, "end"))
        for at, (kind, peers_there) in enumerate(found.items()):
            if name in peers_there:
                long = max(x(peers_there[name]) - left, 1)
                body.append(f'<rect x="{left}" y="{y + at * bar}" width="{long:.1f}" height="{bar - 2}" fill="{COLOURS[kind]}"/>')
                body.append(text(left + long + 6, y + at * bar + bar - 5, time(peers_there[name])))
    for at, kind in enumerate(found):
        body.append(f'<rect x="{left + 90 * at}" y="{height - 14}" width="10" height="10" fill="{COLOURS[kind]}"/>')
        body.append(text(left + 90 * at + 15, height - 5, TITLES[kind]))
    return page(width, height, body)
