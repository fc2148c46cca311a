"""Mutated sessions of an nsqd: V1 commands, IDENTIFY bodies, cut and half-closed anywhere.

nsqlookupd ends at a body of negative length and takes memory for a long one, so that bodies here are
announced with less than 64 KiB. Lines are below musterd's limit too.
"""

import json
import re
import socket

from mutate import Conversation, cuts, mutated, send
from over_http import left_behind
from servers import STUCK, read

MAGIC = b"  V1"
FIELDS = [
    b'"broadcast_address":"a"', b'"hostname":"h"', b'"tcp_port":4150', b'"http_port":4151', b'"version":"1.3.0"',
]  # fmt: skip
#: Further fields, which an IDENTIFY may have too; each replaces an earlier one of its name, or is unknown.
MORE_FIELDS = [
    b'"tcp_port":1.0', b'"tcp_port":1e2', b'"TCP_PORT":7', b'"tcp_port":"1"', b'"tcp_port":-1', b'"tcp_port":null',
    b'"tcp_port":99999999999999999999', b'"http_port":0', b'"version":""', b'"version":1', b'"version":null',
    b'"Broadcast_Address":"b"', b'"hostname":"\\u0041\\ud800"', b'"hostname":"\xff\xc3"', b'"x":{"y":[1,2,{}]}',
    b'"x":"\\/\\b"', b'"remote_address":"1.2.3.4:5"', b'"id":7', b'"topology_zone":"z"', b'"":[]', b'"x":-0.5E-3',
]  # fmt: skip
WORDS_JSON = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u00", b"null", b"true", b"tru", b" ", b"\n", b"\t", b"\0",
    b"1", b"-", b"0", b".5", b"e9", b"\xff", b"\xc2\xa0",
]  # fmt: skip
WORDS = [
    b"PING", b"REGISTER", b"UNREGISTER", b"IDENTIFY", b"ping", b" ", b"  ", b"\t", b"\r", b"\n", b"\0", b"\x0b", b"\x1c",
    b"\xc2\xa0", b"\xc2\x85", b"\xe2\x80\x83", b"\xff", b"#ephemeral", b"*", b".", b"/", b"x" * 64, b"  V1", b"  V2",
]  # fmt: skip


def identify(random):
    fields = list(FIELDS)
    random.shuffle(fields)
    for _ in range(random.choice((0, 0, 0, 1, 2))):
        fields.insert(random.randrange(len(fields) + 1), random.choice(MORE_FIELDS))
    body = b"{" + b",".join(fields) + b"}"
    body = mutated(random, body, WORDS_JSON, random.choice((0, 0, 0, 0, 1, 2)))
    length = len(body) + random.choice((0,) * 30 + (1, -1, 5, 300))
    return b"IDENTIFY\n" + max(length, 0).to_bytes(4, "big") + body


def command(random):
    kind = random.random()
    if kind < 0.2:
        return b"PING\n"
    names = [random.choice((b"@T", b"@Tb", b"@T", b"@T#ephemeral", b"bad name", b"")), random.choice((b"", b" c", b" d", b" e#ephemeral", b" ?"))]
    return random.choice((b"REGISTER ", b"REGISTER ", b"UNREGISTER ")) + b"".join(names) + random.choice((b"\n", b"\n", b"\r\n"))


def harmless(data):
    """`data` without a line that announces a body of 64 KiB or more."""
    return re.sub(rb"(IDENTIFY[^\n]*\n)(?!\0\0)(.{1,2})", lambda found: found[1] + b"\0" * len(found[2]), data, flags=re.DOTALL)


def conversation(random):
    parts = [MAGIC if random.random() < 0.97 else random.choice((b"  V2", b"  v1", b" V1 ", b"GET "))]
    if random.random() < 0.85:
        parts.append(identify(random))
    parts += [command(random) for _ in range(random.randrange(7))]
    if random.random() < 0.15:
        parts.append(identify(random))
    for _ in range(random.choice((0, 0, 1, 2))):
        at = random.randrange(len(parts))
        parts[at] = mutated(random, parts[at], WORDS, 1)
    if random.random() < 0.3:
        parts[-1] = parts[-1][: random.randrange(len(parts[-1]) + 1)]
    # Made harmless as a whole; from there on it is one part for each line.
    data = harmless(b"".join(parts))
    parts = tuple(re.findall(rb"[^\n]*\n|[^\n]+$", data))
    return Conversation(parts, cuts(random, len(data)), True)


def play(server, sent):
    with socket.create_connection(("127.0.0.1", server.tcp_port)) as stream:
        send(stream, sent)
        got, closed = read(stream, STUCK)
    # The reply to IDENTIFY names the server's ports, which have five digits.
    for port in (server.tcp_port, server.port):
        got = got.replace(str(port).encode(), b"PORT0")
    return {"got": got.decode("latin-1"), "end": "closed" if closed else "open"}


def difference(theirs, ours, sent):
    """None, or what differs. A shorter conversation must be harmless too."""
    if harmless(sent.data()) != sent.data():
        return None
    sent = sent.named()
    them, us = play(theirs, sent), play(ours, sent)
    if them != us:
        return f"nsqlookupd {json.dumps(them)}\n    musterd    {json.dumps(us)}"
    # An ephemeral topic or channel goes with its last producer, however that went: README lists it.
    return None if b"#ephemeral" in sent.data() else left_behind(theirs, ours, sent)
