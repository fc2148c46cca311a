"""Renders the figures as Markdown: the targets and whether they are met, and all medians with ranges."""

from pathlib import Path
from statistics import median

GO, OURS, THREAD = "nsqlookupd", "musterd", "musterd-thread"


def against(figure, limit, over=GO):
    """A target: our figure is at most `limit` times the other's."""
    return figure, limit, over, figure


def at_least(figure, limit):
    """A target: our figure is at least `limit` times Go's."""
    return figure, -limit, GO, figure


def absolute(figure, limit):
    """A target: our figure is at most `limit`, independent of the others."""
    return figure, limit, None, figure


def within(figure, limit, other):
    """A target: our figure is at most `limit` times another of our figures."""
    return figure, limit, OURS, other


def targets():
    for registry, limit in zip("ABCDE", (0.4, 0.4, 0.10, 0.004, 0.25)):
        yield against(f"lookup {registry}: CPU, µs", limit)
    for registry in "AB":
        yield at_least(f"lookup {registry}: per second", 1.8)
    yield within("lookup D: CPU, µs", 1.15, "lookup A: CPU, µs")
    yield within("lookup of 1 topic among 10,000: CPU, µs", 1.15, "lookup of 1 topic among 1: CPU, µs")
    for registry in "ABCDE":
        yield against(f"lookup {registry}: CPU, µs", 1.25, "http-epoll")
    yield from (against(f"/nodes {registry}, ms", 0.02) for registry in "CD")
    yield absolute("/debug C: highest memory over before, bodies", 1.5)
    yield absolute("/debug C: memory kept after 2 s, bodies", 0.1)
    for load in ("ping", "known", "new"):
        yield against(f"{load}, 1 in flight: CPU, µs", 0.5)
    for load, limit in (("ping", 0.05), ("known", 0.12), ("new", 0.12)):
        yield against(f"{load}, 32 in flight: CPU, µs", limit)
    for threads in ("", ", 1 thread"):
        for load, limit in (("ping", 1.2), ("known", 1.6), ("new", 1.6)):
            yield against(f"{load}, 1 in flight{threads}: CPU, µs", limit, "tcp-epoll")
    yield against("10,000 paced pings: % of a core", 0.4)
    yield against("herd 10,000 × 10: registered, s", 1.0)
    yield absolute("herd 10,000 × 10: cleaned up, s", 2)
    yield absolute("herd 10,000 × 10: worst /lookup, ms", 25)
    yield within("wide topic, 10,000 producers: CPU, µs", 1.5, "wide topic, 10 producers: CPU, µs")
    yield within("a new topic among 1,000,000: CPU, µs", 2, "a new topic among 1,000: CPU, µs")
    yield absolute("idle registered nsqd: KiB", 1.0)
    yield absolute("registration: bytes", 120)
    yield absolute("idle HTTP connection: KiB", 0.3)
    yield against("/lookup while 1,000 nsqds churn: p99, ms", 0.3)
    yield absolute("PING under saturating HTTP: p99, ms", 5)
    yield absolute("/lookup under saturating REGISTERs: p99, ms", 5)
    yield within("churn, 2 shard(s): CPU, µs", 1.15, "churn, 1 shard(s): CPU, µs")
    yield within("churn-shared, 2 shard(s): CPU, µs", 1.5, "churn-shared, 1 shard(s): CPU, µs")


def number(value):
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def median_of(figures, name, figure):
    values = figures.get(name, {}).get(figure)
    return median(values) if values else None


def target_row(figures, target):
    """A row of the table of targets, or None when it was not measured."""
    figure, limit, other, beside = target
    ours = median_of(figures, OURS, figure)
    theirs = median_of(figures, other, beside) if other else 1
    if ours is None or not theirs:
        return None
    ratio = ours / theirs
    met = ratio >= -limit if limit < 0 else ratio <= limit
    sign = "≥" if limit < 0 else "≤"
    basis = "" if other is None else f" × {other if other != OURS else beside.partition(':')[0]}"
    return [figure, f"{sign} {abs(limit):g}{basis}", number(ours),
            number(theirs) if other else "", number(ratio), "met" if met else "**missed**"]


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def median_and_range(values):
    if not values:
        return ""
    if len(values) == 1:
        return number(values[0])
    return f"{number(median(values))} ({number(min(values))}–{number(max(values))})"


def all_figures(figures):
    """All figures of all servers, medians with their range."""
    names = [name for name in (GO, OURS, THREAD, "http-epoll", "http-may", "tcp-epoll", "tcp-glommio") if name in figures]
    order = dict.fromkeys(figure for name in names for figure in figures[name])
    rows = [[figure, *(median_and_range(figures[name].get(figure)) for name in names)] for figure in order]
    return table(["", *names], rows)


def hosts(figures):
    """Both hosts of the TCP workers: medians and their ratio; empty where one was not measured."""
    both = [(figure, median_of(figures, OURS, figure), median_of(figures, THREAD, figure))
            for figure in figures.get(THREAD, {})]
    rows = [[figure, number(ours), number(thread), number(thread / ours)] for figure, ours, thread in both if ours]
    if not rows:
        return ""
    return f"""## The two hosts of the TCP workers

`musterd` runs them on glommio, `musterd-thread` on plain threads (`--tcp-runtime=thread`).

{table(["figure", "glommio", "thread", "thread ÷ glommio"], rows)}

"""


def quick(figures):
    """The table of `--quick`: both lookupds, and the ratio."""
    order = dict.fromkeys(figure for own in figures.values() for figure in own)
    rows = []
    for figure in order:
        theirs, ours = median_of(figures, GO, figure), median_of(figures, OURS, figure)
        ratio = f"{ours / theirs:.3g}" if theirs and ours is not None else ""
        rows.append([figure, *("" if value is None else number(value) for value in (theirs, ours)), ratio])
    return table(["", GO, OURS, "ratio"], rows)


def full(saved):
    """The whole page. The text about the figures that a person writes is in notes.md."""
    notes = (Path(__file__).resolve().parent / "notes.md").read_text()
    figures = saved["figures"]
    rows = [row for row in (target_row(figures, target) for target in targets()) if row]
    about = "\n".join(f"- {label}: {text}" for label, text in saved["about"].items())
    return f"""# The cost of musterd compared with nsqlookupd v1.3.0 and baseline servers

Generated by `benches/compare`. Each server runs alone with its load generator on one machine, freshly
started for each scenario, and the servers alternate within each round. Figures are medians, with the
range of the rounds in parentheses. CPU is the server's user and system time per operation, from
`/proc/PID/stat`. The baselines do no work: `http-epoll` and `http-may` answer a body of the same size
without parsing the request, `tcp-epoll` and `tcp-glommio` answer `OK` to every line. A herd that is
not cleaned up before the timeout shows the timeout.

The figures are those of the commit below. The daemon has changed since: `benches/compare` measures
today's tree.

{about}

## Targets

{table(["figure", "target", "musterd", "against", "ratio", ""], rows)}

{hosts(figures)}## All figures

{all_figures(figures)}

{notes}"""
