"""Three nsqds and an admin in turn: after each step every listing must be the same with both servers.

A conversation's parts are steps: `0 REGISTER t c` is a line of nsqd 0, `0 close` ends its connection,
`POST /topic/create?topic=t` is a request. An nsqd identifies itself when its first line comes.
"""

import http.client
import json
import socket
import struct
import time
from contextlib import suppress
from urllib.parse import quote

from mutate import Conversation
from servers import STUCK

TOPICS = ["a", "b", "a.b", "x" * 64, "A-_", "t#ephemeral", "u#ephemeral"]
CHANNELS = ["", "c", "d", "c#ephemeral"]
STEPS = 40


def conversation(random):
    return Conversation(tuple(step(random).encode() for _ in range(STEPS)), (), False)


def step(random):
    kind, nsqd, topic, channel = random.random(), random.randrange(3), random.choice(TOPICS), random.choice(CHANNELS)
    if kind < 0.5:
        verb = random.choice(("REGISTER", "REGISTER", "UNREGISTER"))
        return f"{nsqd} {verb} {topic} {channel}".rstrip()
    if kind < 0.55:
        return f"{nsqd} PING"
    if kind < 0.63:
        return f"{nsqd} close"
    query = f"?topic={quote(topic)}"
    if kind < 0.9:
        route = random.choice(("/topic/create", "/topic/delete", "/channel/create", "/channel/delete"))
        return f"POST {route}{query}" + (f"&channel={quote(channel or 'c')}" if route.startswith("/channel") else "")
    return f"POST /topic/tombstone{query}&node=h{random.randrange(4)}:{random.choice((2, 2, 3))}"


class Nsqd:
    """A connection to a server, which IDENTIFY has named `h0` to `h2`."""

    def __init__(self, server, number):
        self.stream = socket.create_connection(("127.0.0.1", server.tcp_port), timeout=STUCK)
        who = {"broadcast_address": f"h{number}", "hostname": "n", "tcp_port": 1, "http_port": 2, "version": "1"}
        body = json.dumps(who).encode()
        self.stream.sendall(b"  V1IDENTIFY\n" + struct.pack(">i", len(body)) + body)
        self.reply()

    def reply(self):
        """The next reply; an empty one at the end."""
        with suppress(ConnectionError):
            head = self.stream.recv(4, socket.MSG_WAITALL)
            return self.stream.recv(struct.unpack(">i", head)[0], socket.MSG_WAITALL) if len(head) == 4 else b""
        return b""


class Side:
    """One server, and the nsqds that are connected to it."""

    def __init__(self, server):
        self.server, self.nsqds = server, {}
        self.http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=STUCK)
        self.request("POST", "/topic/delete?topic=*")

    def request(self, method, path):
        self.http.request(method, path)
        response = self.http.getresponse()
        return response.status, response.read().decode()

    def get(self, path):
        return json.loads(self.request("GET", path)[1])

    def act(self, words):
        if words[0] == "POST":
            return self.request(*words)
        number, line = words
        if line == "close":
            self.leave(number)
            return None
        nsqd = self.nsqds.get(number) or self.nsqds.setdefault(number, Nsqd(self.server, number))
        nsqd.stream.sendall(line.encode() + b"\n")
        reply = nsqd.reply()
        if reply != b"OK":
            self.leave(number)
        return reply.decode()

    def leave(self, number):
        if nsqd := self.nsqds.pop(number, None):
            nsqd.stream.close()

    def end(self):
        for number in list(self.nsqds):
            self.leave(number)
        self.http.close()

    def listings(self):
        """All listings, in one order. Ephemeral names without a producer are left out: README lists them."""

        def seen(producer):
            return producer["broadcast_address"], producer.get("tombstoned", False)

        debug = {key: sorted(map(seen, producers)) for key, producers in self.get("/debug").items()}

        def there(category, topic, channel=""):
            return f"{category}:{topic}:{channel}" in debug or "#ephemeral" not in topic + channel

        topics = sorted(topic for topic in self.get("/topics")["topics"] if there("topic", topic))
        listings = {"debug": debug, "topics": topics}
        for topic in topics:
            query = "?topic=" + quote(topic)
            # A topic that an nsqd's end takes along may be gone since it was listed.
            channels = self.get("/channels" + query).get("channels", ())
            listings[f"channels of {topic}"] = sorted(channel for channel in channels if there("channel", topic, channel))
            listings[f"lookup of {topic}"] = sorted(map(seen, self.get("/lookup" + query).get("producers", ())))
        listings["nodes"] = sorted(
            (node["broadcast_address"], sorted(zip(node["topics"], node["tombstones"])))
            for node in self.get("/nodes")["producers"]
        )
        return listings


def difference(theirs, ours, sent):
    """None, or what differs after which step."""
    them, us = Side(theirs), Side(ours)
    try:
        for number, part in enumerate(sent.parts):
            words = part.decode().split(" ", 1)
            if len(words) != 2 or words[0] not in ("POST", "0", "1", "2"):
                continue  # what shrinking left of a step
            answers = them.act(words), us.act(words)
            # A channel that README says is gone.
            gone = "ephemeral" in words[1] and "/channel/delete" in words[1]
            if answers[0] != answers[1] and not gone:
                return f"step {number}, {part}: nsqlookupd {answers[0]}, musterd {answers[1]}"
            if differ := listings_differ(them, us):
                return f"step {number}, {part}: {differ}"
    finally:
        them.end()
        us.end()
    return None


def listings_differ(them, us):
    """What differs in the listings, once neither has anything left to do, or None."""
    until = time.monotonic() + STUCK
    while True:
        left, right = them.listings(), us.listings()
        if left == right:
            return None
        if time.monotonic() > until:
            differing = {key for key in {*left, *right} if left.get(key) != right.get(key)}
            return {key: {"nsqlookupd": left.get(key), "musterd": right.get(key)} for key in sorted(differing)}
        time.sleep(0.02)
