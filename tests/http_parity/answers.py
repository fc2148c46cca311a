"""What a server answered on one connection, taken apart for comparison and storage.

Must not: know the requests or the servers.
"""

import re

from servers import unchunked

#: Sent when the connection stays open: the answer shows whether the server expects a new request.
AFTER = b"GET /info?after HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#: Fields whose values differ from run to run, or by how a body is framed.
UNCOMPARED = ("Date", "Content-Length", "Transfer-Encoding")


def pack(data):
    """Bytes as latin-1 text; long repetitions as `[text, times]` in a list."""
    text, parts, last = data.decode("latin-1"), [], 0
    for match in re.finditer(r"(.{1,120}?)\1{7,}", text, re.DOTALL):
        if len(match[0]) >= 100:
            parts += [text[last : match.start()]] if match.start() > last else []
            parts.append([match[1], len(match[0]) // len(match[1])])
            last = match.end()
    return [*parts, *([text[last:]] if last < len(text) else [])] if parts else text


def answers(data):
    """Takes apart the answers in `data`: status line, compared fields, body, whether that is missing."""
    found = []
    while data:
        head, mark, rest = data.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        if not mark or not status.startswith("HTTP/1."):
            found.append({"status": "no answer", "headers": [], "body": pack(data), "bodiless": False})
            break
        headers = [line.split(": ", 1) for line in lines]
        named = dict(headers)
        length, chunked = named.get("Content-Length"), "Transfer-Encoding" in named
        bodiless = False
        if status.split(" ")[1].startswith("1"):
            body = b""
        elif length is not None:
            # A HEAD's answer has a length and no body.
            bodiless = length != "0" and (not rest or rest.startswith(b"HTTP/1."))
            cut = 0 if bodiless else int(length)
            body, rest = rest[:cut], rest[cut:]
        elif chunked:
            body, rest = unchunked(rest)
        else:
            body, rest = rest, b""
        headers = [header for header in headers if header[0] not in UNCOMPARED]
        found.append({"status": status, "headers": headers, "body": pack(body), "bodiless": bodiless})
        data = rest
    return found
