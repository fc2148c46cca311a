"""The most important rows: a table of all runs for the README, and a plot of the last one.

The medians of every run are in seen.json, since a ratio differs from machine to machine: the README
shows their range and the smallest ratio.
"""

import json
from html import escape
from pathlib import Path

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

RUNS = Path(__file__).resolve().parent / "seen.json"

WIDTH, LEFT, RIGHT, ROW, BAR = 900, 380, 120, 52, 16
COLOURS = {GO: "#9aa5b1", OURS: "#d9480f"}


def measured(figures):
    """The rows that both lookupds have, with their medians."""
    for description, figure, unit in ROWS:
        theirs, ours = median_of(figures, GO, figure), median_of(figures, OURS, figure)
        if theirs and ours:
            yield description, unit, theirs, ours


def add_run(commit, figures):
    """Notes the medians of a run."""
    pairs = {figure: [median_of(figures, name, figure) for name in (GO, OURS)] for _, figure, _ in ROWS}
    run = {"commit": commit, **{figure: pair for figure, pair in pairs.items() if all(pair)}}
    if len(run) > 1:
        lines = [json.dumps(run, ensure_ascii=False) for run in [*json.loads(RUNS.read_text()), run]]
        RUNS.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def span(values, unit):
    """From the lowest to the highest."""
    texts = list(dict.fromkeys(number(value) for value in (min(values), max(values))))
    return f"{'–'.join(texts)} {unit}"


def markdown():
    runs, rows = json.loads(RUNS.read_text()), []
    for description, figure, unit in ROWS:
        pairs = [run[figure] for run in runs if figure in run]
        theirs, ours = zip(*pairs)
        least = min(theirs / ours for theirs, ours in pairs)
        # Rounded down.
        ratio = f"{int(least):,}" if least >= 10 else f"{int(10 * least) / 10}"
        rows.append([description, span(theirs, unit), span(ours, unit), f"{ratio} ×"])
    return table(["", GO, OURS, "ratio, at least"], rows) + "\n"


def into_readme(readme):
    """Writes the table between its marks in the README."""
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise ValueError(f"{readme} lacks the marks of the table")
    readme.write_text(before + BEGIN + markdown() + END + after)


def plot(figures):
    """Each row as two bars, scaled to the larger one."""
    rows = list(measured(figures))
    height = 40 + ROW * len(rows)
    room = WIDTH - LEFT - RIGHT
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
            y, length = top + place * (BAR + 3), max(1.5, room * value / most)
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{COLOURS[name]}"/>')
            parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + BAR - 3}" fill="#212529">'
                         f'{number(value)} {escape(unit)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
