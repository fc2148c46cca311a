"""What all kinds of conversations share: how bytes are mutated, sent and shrunk.

Must not: know a protocol or a server.
"""

import itertools
import socket
import time
from typing import NamedTuple

#: Seconds that shrinking one conversation may take.
SHRINKING = 60


class Conversation(NamedTuple):
    """What a client sends on one connection."""

    #: The requests or commands, each some bytes.
    parts: tuple
    #: Where the bytes are split into writes.
    cuts: tuple
    #: Whether the client closes its side behind them.
    half_closes: bool

    def data(self):
        return b"".join(self.parts)

    def named(self):
        """The same with a name in place of `@T` that no conversation had before."""
        name = b"m%07d" % next(_names)
        return self._replace(parts=tuple(part.replace(b"@T", name) for part in self.parts))


_names = itertools.count()


def mutated(random, data, words, times):
    """`data` with so many changes: bytes changed, removed and repeated, or one of `words` put in."""
    for _ in range(times):
        at = random.randrange(len(data) + 1)
        to = min(len(data), at + random.choice((1, 1, 2, 4, 8)))
        change = random.randrange(6)
        if change == 0:
            data = data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
        elif change == 1:
            data = data[:at] + data[to:]
        elif change == 2:
            data = data[:to] + data[at:to] + data[to:]
        elif change == 3:
            lines = data.split(b"\n")
            lines.insert(random.randrange(len(lines)), random.choice(lines))
            data = b"\n".join(lines)
        else:
            data = data[:at] + random.choice(words) + data[at if change == 4 else to :]
    return data


def cuts(random, length):
    """Where to split so many bytes: nowhere, at some places, or (if they are few) everywhere."""
    kind = random.randrange(4)
    if kind == 0 and length < 120:
        return tuple(range(1, length))
    return tuple(sorted(random.randrange(length + 1) for _ in range(random.choice((0, 1, 2, 5)) if kind < 3 else 0)))


def send(stream, conversation):
    """Sends it as it is split; a server that has closed already can still be read."""
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data, sent = conversation.data(), 0
    try:
        for cut in (*conversation.cuts, len(data)):
            if cut > sent:
                stream.sendall(data[sent:cut])
                sent = cut
        if conversation.half_closes:
            stream.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def shrunk(conversation, differs):
    """The smallest conversation found for which `differs` still holds, as far as time allows."""
    until = time.monotonic() + SHRINKING

    def try_it(parts, cuts=None):
        nonlocal conversation
        length = sum(map(len, parts))
        cuts = tuple(cut for cut in (conversation.cuts if cuts is None else cuts) if cut <= length)
        candidate = conversation._replace(parts=tuple(part for part in parts if part), cuts=cuts)
        if time.monotonic() > until or not differs(candidate):
            return False
        conversation = candidate
        return True

    try_it(conversation.parts, ())
    several = max(1, len(conversation.parts) // 2)
    while several:
        for number in reversed(range(0, len(conversation.parts), several)):
            try_it(conversation.parts[:number] + conversation.parts[number + several :])
        several //= 2
    size = max(map(len, conversation.parts), default=0)
    while size >= 1:
        number = 0
        while number < len(conversation.parts):
            at = 0
            while number < len(conversation.parts) and at < len(conversation.parts[number]):
                part = conversation.parts[number]
                smaller = part[:at] + part[at + size :]
                if not try_it((*conversation.parts[:number], smaller, *conversation.parts[number + 1 :])):
                    at += size
            number += 1
        size //= 2
    return conversation
