"""The rows of the comparison: scenarios, and the figures that each yields.

A scenario is a function of a lab and a contender; it yields (figure, value) pairs. It starts its
own server, so that scenarios do not influence each other.
"""

import contextlib
import json
import socket
import threading
import time
from dataclasses import dataclass

from .peers import Driver, Server, wrk

# Topics, channels of each, producers of each, nsqds that share them.
REGISTRIES = {
    "A": (1, 1, 1, 1),
    "B": (100, 1, 10, 10),
    "C": (1_000, 4, 100, 100),
    "D": (10_000, 4, 3, 100),
    "E": (1, 1, 1_000, 1_000),
}
# Seconds that a clean-up may take before it counts as never.
CLEAN_UP = 60
# musterd shares its descriptors between both sides; a hard limit of 20,000 holds these.
ROOM = {
    "tcp": ("--max-tcp-connections=12000", "--max-http-connections=4000"),
    "http": ("--max-tcp-connections=4000", "--max-http-connections=12000"),
}
# The flags of each way to run musterd's TCP workers.
MUSTERDS = {"musterd": (), "musterd-thread": ("--tcp-runtime=thread",)}
TCP_BASELINES = ("tcp-epoll", "tcp-glommio")
TCP_LOADS = {
    "ping": {"kind": "ping"},
    "known": {"kind": "known"},
    "new": {"kind": "new", "count": 192_000},
}


@dataclass
class Lab:
    """Programs by name, and how long a load lasts."""

    programs: dict
    seconds: float
    quick: bool = False

    def lookupd(self, name, *flags, many="tcp"):
        """A fresh lookupd, with room for 10,000 connections on the side `many`."""
        own = (*ROOM[many], *MUSTERDS[name]) if name in MUSTERDS else ()
        return Server.lookupd(self.programs[name], *own, *flags)

    def tcp(self, name, *flags):
        """A fresh lookupd, or a TCP baseline."""
        if name in TCP_BASELINES:
            return Server.baseline(self.programs["baselines"], name)
        return self.lookupd(name, *flags)

    def drive(self, scenario, **options):
        return Driver(self.programs["driver"], scenario, **options)

    @contextlib.contextmanager
    def filled(self, server, topics, channels, producers, nsqds):
        shape = {"topics": topics, "channels": channels, "producers": producers, "nsqds": nsqds}
        with self.drive("fill", tcp=address(server.tcp), **shape) as driver:
            driver.run()
            yield driver


def address(port):
    return f"127.0.0.1:{port}"


def loaded(server, run):
    """The server's CPU while `run` runs, and what that returned."""
    before = server.cpu()
    done = run()
    return server.cpu() - before, done


def lookup(lab, name, registry):
    """GET /lookup flat out with 64 connections on a registry, then its listings."""
    with lab.lookupd(name) as server, lab.filled(server, *REGISTRIES[registry]):
        target = f"/lookup?topic=t{REGISTRIES[registry][0] // 2}"
        yield f"lookup {registry}: body, bytes", len(server.get(target)[1])
        wrk(server.http, target, 64, 1)
        yield from hit(lab, server, target, f"lookup {registry}")
        if not lab.quick and registry in "CD":
            for listing in ("nodes", "topics", "channels?topic=*"):
                yield f"/{listing.partition('?')[0]} {registry}, ms", slow(server, "/" + listing)
        if not lab.quick and registry == "C":
            yield from debug(server)


def hit(lab, server, target, label):
    cpu, done = loaded(server, lambda: wrk(server.http, target, 64, lab.seconds))
    if done["errors"]:
        raise RuntimeError(f"{label}: wrk saw errors")
    yield f"{label}: CPU, µs", cpu / done["requests"] * 1e6
    yield f"{label}: per second", done["rate"]
    yield f"{label}: p50, ms", done["p50_ms"]
    yield f"{label}: p99, ms", done["p99_ms"]


def slow(server, target):
    """The median of three requests, one at a time, in milliseconds."""
    return sorted(server.get(target)[0] for _ in range(3))[1] * 1e3


def debug(server):
    before = server.memory()
    seconds, body = server.get("/debug")
    size = len(body)
    del body
    yield "/debug C, ms", seconds * 1e3
    yield "/debug C: body, MB", size / 1e6
    yield "/debug C: highest memory over before, bodies", (server.memory("VmHWM") - before) / size
    time.sleep(2)
    yield "/debug C: memory kept after 2 s, bodies", (server.memory() - before) / size


def static(lab, kind, sizes):
    """The HTTP baselines: the same sizes of body, answered without thought."""
    for registry, size in sizes.items():
        with Server.baseline(lab.programs["baselines"], kind, size) as server:
            wrk(server.http, "/", 64, 1)
            yield from hit(lab, server, "/", f"lookup {registry}")


def commands(lab, name):
    """TCP commands with 64 nsqds, one and 32 in flight."""
    for depth in (1, 32):
        for load in TCP_LOADS:
            cpu, rate = commanded(lab, name, load, depth)
            yield f"{load}, {depth} in flight: CPU, µs", cpu
            yield f"{load}, {depth} in flight: per second", rate


def one_shard(lab, name):
    """One command in flight against one thread: a raw loop has no more, and a shard is one."""
    flags = ("--shards=1",) if name in MUSTERDS else ()
    for load in TCP_LOADS:
        yield f"{load}, 1 in flight, 1 thread: CPU, µs", commanded(lab, name, load, 1, *flags)[0]


def commanded(lab, name, load, depth, *flags):
    """CPU of one command in microseconds, and commands a second."""
    server = lab.tcp(name, *flags)
    options = {"seconds": lab.seconds} | TCP_LOADS[load]
    with server, lab.drive("load", tcp=address(server.tcp), depth=depth, **options) as driver:
        cpu, done = loaded(server, driver.run)
    return cpu / done["operations"] * 1e6, done["operations"] / done["seconds"]


def growth(lab, name):
    """The lookup of a topic with one producer and one channel, alone and among 10,000."""
    for topics in (1, 10_000):
        with lab.lookupd(name) as server, lab.filled(server, topics, 1, 1, 100):
            target = f"/lookup?topic=t{topics // 2}"
            wrk(server.http, target, 64, 1)
            cpu, done = loaded(server, lambda: wrk(server.http, target, 64, lab.seconds))
        yield f"lookup of 1 topic among {topics:,}: CPU, µs", cpu / done["requests"] * 1e6


def quiet(lab, name):
    """10,000 registered nsqds that ping every 15 s, evenly spread."""
    server = lab.tcp(name)
    with server, lab.drive("paced", tcp=address(server.tcp), seconds=15) as driver:
        cpu, done = loaded(server, driver.run)
    yield "10,000 paced pings: % of a core", cpu / done["seconds"] * 100
    yield "10,000 paced pings: p99, ms", done["p99_us"] / 1e3


def herd(lab, name, nsqds, topics):
    """A fleet with names of its own arrives at once, then vanishes."""
    label = f"herd {nsqds:,} × {topics}"
    with lab.lookupd(name) as server:
        options = {"nsqds": nsqds, "topics": topics, "wait": CLEAN_UP}
        with lab.drive("herd", tcp=address(server.tcp), http=address(server.http), **options) as driver:
            came = driver.run()
            memory = server.memory()
            went = driver.run()
        yield f"{label}: registered, s", came["registered"]
        # Never is shown as the time that was waited.
        yield f"{label}: cleaned up, s", CLEAN_UP if went["cleaned"] is None else went["cleaned"]
        yield f"{label}: worst /lookup, ms", max(came["worst_us"], went["worst_us"]) / 1e3
        yield f"{label}: memory, MB", memory / 1e6


def wide(lab, name):
    """REGISTER and UNREGISTER of a topic that has few producers, and many."""
    for producers in (10, 10_000):
        with lab.lookupd(name) as server, lab.filled(server, 1, 1, producers, producers):
            with lab.drive("load", tcp=address(server.tcp), kind="churn-shared",
                           seconds=lab.seconds) as driver:
                cpu, done = loaded(server, driver.run)
        yield f"wide topic, {producers:,} producers: CPU, µs", cpu / done["operations"] * 1e6


def many_topics(lab, name):
    """REGISTER of new topics in a registry that has few, and many."""
    for topics in (1_000, 1_000_000):
        with lab.lookupd(name) as server, lab.filled(server, topics, 0, 1, 64):
            with lab.drive("load", tcp=address(server.tcp), kind="new", count=64_000) as driver:
                cpu, done = loaded(server, driver.run)
        yield f"a new topic among {topics:,}: CPU, µs", cpu / done["operations"] * 1e6


def meddled(lab, name):
    """How long a lookup or a ping takes while others saturate the server."""
    with lab.lookupd(name) as server, lab.filled(server, *REGISTRIES["A"]):
        tcp, http = address(server.tcp), address(server.http)
        span = lab.seconds + 1
        with lab.drive("load", tcp=tcp, kind="churn", nsqds=1_000, seconds=span) as churn:
            with lab.drive("probe", http=http, seconds=lab.seconds) as probe:
                churn.go()
                yield "/lookup while 1,000 nsqds churn: p99, ms", probe.run()["p99_us"] / 1e3
                churn.hear()
        with lab.drive("load", tcp=tcp, kind="churn", depth=32, seconds=span) as churn:
            with lab.drive("probe", http=http, seconds=lab.seconds) as probe:
                churn.go()
                yield "/lookup under saturating REGISTERs: p99, ms", probe.run()["p99_us"] / 1e3
                churn.hear()
        # The topic that is asked for has one producer, or every nsqd that pings.
        for topic, label in (("paced", "HTTP"), ("t0", "HTTP, answers of 160 KB")):
            paced = {"nsqds": 1_000, "interval": 1, "seconds": lab.seconds, "topic": topic}
            with lab.drive("paced", tcp=tcp, **paced) as driver:
                load = threading.Thread(target=wrk, args=(server.http, "/lookup?topic=t0", 64, span))
                load.start()
                yield f"PING under saturating {label}: p99, ms", driver.run()["p99_us"] / 1e3
                load.join()


def shards(lab, name):
    """What two shards cost against one; of musterd alone."""
    if name != "musterd":
        return
    for kind in ("churn", "churn-shared"):
        for count in (1, 2):
            with lab.lookupd(name, f"--shards={count}") as server:
                with lab.drive("load", tcp=address(server.tcp), kind=kind, depth=32,
                               seconds=lab.seconds) as driver:
                    cpu, done = loaded(server, driver.run)
            yield f"{kind}, {count} shard(s): CPU, µs", cpu / done["operations"] * 1e6


def resident(lab, name):
    """Resident memory: idle nsqds, their registrations, idle HTTP connections."""
    with lab.lookupd(name) as server:
        server.get("/ping")
        before = server.memory()
        yield "idle: memory, MB", before / 1e6
        with lab.filled(server, 1, 1, 10_000, 10_000):
            yield "idle registered nsqd: KiB", (server.memory() - before) / 10_000 / 1024
    with lab.lookupd(name) as server, lab.filled(server, 1, 0, 100, 100):
        before = server.memory()
        with lab.filled(server, 1_000, 4, 100, 100):
            # Each of 100 nsqds holds 1,000 topics and 4,000 channels; what the nsqds
            # themselves cost is noise beside it.
            yield "registration: bytes", (server.memory() - before) / 500_000
    with lab.lookupd(name, many="http") as server:
        server.get("/ping")
        before = server.memory()
        with lab.drive("idle", http=address(server.http), connections=10_000) as driver:
            driver.run()
            yield "idle HTTP connection: KiB", (server.memory() - before) / 10_000 / 1024


def abuse(lab, name, size=1 << 30):
    """Input that breaks servers: highest memory over before, in MiB; -1 if the server crashed."""
    cases = {
        "17-byte packet": ("tcp", {"how": "minus-one"}),
        f"line of {size >> 20} MiB": ("tcp", {"how": "line", "bytes": size}),
        f"body of {size >> 20} MiB": ("http", {"how": "body", "bytes": size}),
        f"head of {size >> 20} MiB": ("http", {"how": "head", "bytes": size}),
        "5,000 dripping peers": ("tcp", {"how": "drip", "seconds": 15}),
        "2,000 answers never read": ("http", {"how": "unread", "peers": 2_000}),
    }
    for label, (side, options) in cases.items():
        with lab.lookupd(name) as server, lab.filled(server, *REGISTRIES["E"]):
            before = server.memory()
            with lab.drive("abuse", to=address(getattr(server, side)), **options) as driver:
                done = driver.run()
                alive = server.alive()
                grown = server.memory("VmHWM") - before if alive else -(1 << 20)
                time.sleep(1 if alive else 0)
                kept = server.memory() - before if server.alive() else -(1 << 20)
            yield f"{label}: highest, MiB", grown / (1 << 20)
            yield f"{label}: after, MiB", kept / (1 << 20)
            yield f"{label}: still connected", done["open"] if alive else 0


def items(lab, name, count=400_000, step=20_000):
    """What single things take, in bytes: the most of any moment of the growth from 100,000 on."""
    def named(letter, number):
        return f"{letter}{number}".ljust(64, "x")

    def post(target):
        def more(server, state, numbers):
            state.setdefault("link", socket.create_connection(("127.0.0.1", server.http), 60))
            for first in range(numbers.start, numbers.stop, 500):
                some = range(first, first + 500)
                state["link"].sendall("".join(f"POST {target(number)} HTTP/1.1\r\nHost: x\r\n\r\n"
                                              for number in some).encode())
                answers = 0
                while answers < 500:
                    answers += state["link"].recv(1 << 20).count(b"HTTP/1.1 200")
        return more

    def register(key, names):
        def more(server, state, numbers):
            link = state.get(key(numbers)) or nsqd(server, "a")
            state[key(numbers)] = link
            command(link, names(numbers))
        return more

    known = range(step)
    cases = {
        "topic": (post(lambda n: f"/topic/create?topic={named('t', n)}"), None),
        "channel of one topic": (post(lambda n: f"/channel/create?topic=t&channel={named('c', n)}"), None),
        "topic with a channel": (post(lambda n: f"/channel/create?topic={named('t', n)}&channel=c"), None),
        "registration of a known topic": (
            register(lambda numbers: numbers.start, lambda _: [named("t", n) for n in known]), known),
    }
    for label, (more, before) in cases.items():
        flags = ("--max-registrations=10000000", "--max-registrations-per-nsqd=10000000", "--max-http-names=10000000")
        flags = flags if name in MUSTERDS else ()
        with lab.lookupd(name, *flags) as server:
            state, most = {}, 0
            if before:
                register(lambda _: "first", lambda numbers: [named("t", n) for n in numbers])(server, state, before)
            server.get("/ping")
            start = server.memory()
            for first in range(0, count, step):
                more(server, state, range(first, first + step))
                if first + step >= 100_000:
                    most = max(most, (server.memory() - start) / (first + step))
            yield f"{label}: bytes", most
    opened = {"nsqd, identity of 3 × 250 bytes": ("tcp", lambda server: nsqd(server, "h" * 250)),
              "HTTP client": ("http", lambda server: socket.create_connection(("127.0.0.1", server.http), 60))}
    for label, (side, connect) in opened.items():
        with lab.lookupd(name, many=side) as server:
            server.get("/ping")
            start, most, links = server.memory(), 0, []
            while len(links) < 8_000:
                links.append(connect(server))
                if len(links) % 500 == 0 and len(links) >= 3_000:
                    most = max(most, (server.memory() - start) / len(links))
            for link in links:
                link.close()
            yield f"connection of an {label}: bytes", most


def nsqd(server, text):
    """A connection that has identified itself."""
    link = socket.create_connection(("127.0.0.1", server.tcp), 60)
    body = json.dumps({"hostname": text, "broadcast_address": text, "version": text,
                       "tcp_port": 1, "http_port": 2}).encode()
    link.sendall(b"  V1IDENTIFY\n" + len(body).to_bytes(4, "big") + body)
    length = int.from_bytes(link.recv(4, socket.MSG_WAITALL), "big")
    link.recv(length, socket.MSG_WAITALL)
    return link


def command(link, names):
    """Registers names, 2,000 at a time."""
    for first in range(0, len(names), 2_000):
        some = names[first:first + 2_000]
        link.sendall("".join(f"REGISTER {name}\n" for name in some).encode())
        link.recv(6 * len(some), socket.MSG_WAITALL)


def body_sizes(figures):
    """The sizes of body that a lookupd answered with, by registry."""
    return {key[7]: int(values[-1]) for key, values in figures.items() if key.endswith(": body, bytes")}

