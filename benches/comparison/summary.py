"""The most important rows: a table for the README, and a plot of it."""

from html import escape

from .report import GO, OURS, median_of, number, table

# Description, figure, unit.
ROWS = [
    ("CPU of a `/lookup`, 10,000 topics", "lookup D: CPU, µs", "µs"),
    ("p99 of `/lookup` while 1,000 nsqds churn", "/lookup while 1,000 nsqds churn: p99, ms", "ms"),
    ("clean-up of 1,000 disconnected nsqds × 100 topics", "herd 1,000 × 100: cleaned up, s", "s"),
    ("10,000 nsqds that PING every 15 s: CPU", "10,000 paced pings: % of a core", "% of a core"),
    ("memory of an idle registered nsqd", "idle registered nsqd: KiB", "KiB"),
]
BEGIN, END = "<!-- written by benches/compare -->\n", "<!-- /written -->\n"

WIDTH, LEFT, RIGHT, ROW, BAR = 900, 380, 120, 52, 16
COLOURS = {GO: "#9aa5b1", OURS: "#d9480f"}


def measured(figures):
    """The rows that both lookupds have, with their medians."""
    for description, figure, unit in ROWS:
        theirs, ours = median_of(figures, GO, figure), median_of(figures, OURS, figure)
        if theirs and ours:
            yield description, unit, theirs, ours


def markdown(figures):
    rows = [[description, f"{number(theirs)} {unit}", f"{number(ours)} {unit}", f"{theirs / ours:,.0f} ×"
             if theirs / ours >= 10 else f"{theirs / ours:.1f} ×"]
            for description, unit, theirs, ours in measured(figures)]
    return table(["", GO, OURS, "less"], rows) + "\n"


def into_readme(readme, figures):
    """Writes the table between its marks in the README."""
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise ValueError(f"{readme} lacks the marks of the table")
    readme.write_text(before + BEGIN + markdown(figures) + END + after)


def plot(figures):
    """Each row as two bars, scaled to the larger one."""
    rows = list(measured(figures))
    height = 40 + ROW * len(rows)
    span = WIDTH - LEFT - RIGHT
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
             'font-family="sans-serif" font-size="14">',
             f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
             f'<text x="{LEFT}" y="22" fill="{COLOURS[GO]}">nsqlookupd v1.3.0</text>',
             f'<text x="{LEFT + 150}" y="22" fill="{COLOURS[OURS]}">musterd</text>',
             f'<text x="{LEFT + 230}" y="22" fill="#495057">shorter is better</text>']
    for at, (description, unit, theirs, ours) in enumerate(rows):
        top = 40 + ROW * at
        most = max(theirs, ours)
        parts.append(f'<text x="{LEFT - 12}" y="{top + BAR + 5}" text-anchor="end" fill="#212529">'
                     f'{escape(description.replace("`", ""))}</text>')
        for place, (name, value) in enumerate(((GO, theirs), (OURS, ours))):
            y, length = top + place * (BAR + 3), max(1.5, span * value / most)
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{COLOURS[name]}"/>')
            parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + BAR - 3}" fill="#212529">'
                         f'{number(value)} {escape(unit)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
