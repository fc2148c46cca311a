"""Mutated HTTP conversations: one to three requests, odd ones among them, and bytes of a next one.

Must not: decide which differences are right; tests/http_parity/classes.py does.
"""

import itertools
import json
import re
import socket

import classes
import generate
from answers import AFTER, answers
from mutate import Conversation, cuts, mutated, send
from servers import STUCK, read, say

#: Seconds without a byte after which an answer counts as complete, where the client stays.
QUIET = 0.3
HOST = b"Host: x\r\n"
#: Requests to start from, beside those of tests/http_parity/generate.py. `@T` becomes a topic of its own.
PLAIN = [
    *(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n"
      for path in (b"/ping", b"/info", b"/lookup?topic=@T", b"/channels?topic=@T", b"/nope", b"/topic/create")),
    *(b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n"
      for path in (b"/topic/create?topic=@T", b"/channel/create?topic=@T&channel=c", b"/topic/delete?topic=@T",
                   b"/channel/delete?topic=@T&channel=c", b"/topic/tombstone?topic=@T&node=a:1", b"/ping")),
    b"POST /topic/create?topic=@T HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
    b"POST /topic/create?topic=@T HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST /topic/create?topic=@T HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    b"GET /ping HTTP/1.0\r\n\r\n",
    b"GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]  # fmt: skip
WORDS = [
    *(b"GET POST HEAD PUT OPTIONS HTTP/1.0 HTTP/1.1 HTTP/2.0 chunked identity close keep-alive 100-continue "
      b"0 1 5 -1 +1 0x1 00 99 %zz %00 ?topic=@T &channel=c ; , : =".split()),
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b" ", b"\t", b"\0", b"\xff", b"0\r\n\r\n", b"5\r\nhello\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
    b"Expect: 100-continue\r\n", b"Host: y\r\n", b"X : y\r\n", b"X:\r\n", b" folded\r\n", b"5;x=y\r\n",
]  # fmt: skip
ODD = [re.sub(rb"odd\d{4}", b"@T", request) for _, request, _ in generate.everything() if len(request) < 1500]


def conversation(random):
    parts = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        part = random.choice(PLAIN) if random.random() < 0.7 else random.choice(ODD)
        parts.append(mutated(random, part, WORDS, random.choice((0, 0, 0, 0, 1, 1, 2, 3))))
    if random.random() < 0.5:
        # An answered request, 0 to 6 bytes of a next one, and the half-close.
        following = random.choice((b"GET /ping", b"POST /t", b"\r\n\r\n\r\n", b"\n\n\n\n\n\n", b"\0\0\0\0\0\0", b"HTTP/1.1"))
        parts.append(following[: random.randrange(7)])
    parts = tuple(part for part in parts if part)
    return Conversation(parts, cuts(random, sum(map(len, parts))), random.random() < 0.8)


#: Asks for what other conversations made, or takes it away.
OF_OTHERS = re.compile(rb"(?i)topic=(\*|%2a)|/topics")


def play(server, sent):
    with socket.create_connection(("127.0.0.1", server.port)) as stream:
        send(stream, sent)
        got, closed = read(stream, STUCK if sent.half_closes else QUIET)
        after = b""
        if not closed and not sent.half_closes:
            say(stream, AFTER, True)
            after, _ = read(stream, STUCK)
    return {"got": answers(got), "end": "closed" if closed else "open", "after": answers(after)}


def state(server, sent):
    """What the conversation left behind: of each topic that it names, whether it is there, and its channels."""
    left = {}
    for topic in sorted(set(re.findall(rb"m\d{7}\w*", sent.data()))):
        for route in (b"/lookup", b"/channels"):
            with socket.create_connection(("127.0.0.1", server.port)) as stream:
                say(stream, b"GET " + route + b"?topic=" + topic + b" HTTP/1.0\r\n\r\n", True)
                answer = json.loads(read(stream, STUCK)[0].partition(b"\r\n\r\n")[2])
            left[f"{route.decode()} {topic.decode()}"] = {**answer, "channels": sorted(answer.get("channels", ()))}
    return left


def left_behind(theirs, ours, sent):
    """None, or what differs in what a conversation left behind."""
    them, us = state(theirs, sent), state(ours, sent)
    return None if them == us else f"left behind: nsqlookupd {them}, musterd {us}"


def requests(sent):
    """The bytes from each place on where a request may begin: a part, or what follows an empty line."""
    data, begins = sent.data(), {0}
    begins.update(itertools.accumulate(map(len, sent.parts)))
    begins.update(empty.end() for empty in re.finditer(rb"\n\r?\n", data))
    return [data[begin:] for begin in sorted(begins)]


def listed(them, us, sent):
    """The class that explains a difference. Behind equal answers, what follows is judged by itself."""
    us = classes.without_head(sent.data(), them, us)
    if us == them:
        return "head"
    for equal in range(min(len(them["got"]), len(us["got"])) + 1):
        if them["got"][:equal] != us["got"][:equal]:
            return None
        rest = [{**seen, "got": seen["got"][equal:]} for seen in (them, us)]
        for request in requests(sent):
            if why := classes.of("", request, *rest):
                return why
    return None


def difference(theirs, ours, sent):
    """None, what differs, or ("listed", the class of a listed difference)."""
    if OF_OTHERS.search(sent.data()):
        return None
    sent = sent.named()
    them, us = play(theirs, sent), play(ours, sent)
    if them == us:
        return left_behind(theirs, ours, sent)
    if why := listed(them, us, sent):
        return ("listed", why)
    return f"nsqlookupd {json.dumps(them)}\n    musterd    {json.dumps(us)}"
