"""The two servers that are compared, on free ports of loopback, and how their answers are read.

Must not: know the requests.
"""

import json
import os
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
MUSTERD = TARGET / "debug/musterd"
#: Seconds to wait for a server to close.
STUCK = 4


def nsqlookupd():
    """The path of nsqlookupd, built."""
    built = subprocess.run([ROOT / "tests/interop/build"], check=True, stdout=subprocess.PIPE, text=True)
    return f"{built.stdout.strip()}/nsqlookupd"


def unchunked(data):
    """The body that `data` starts with, sent in chunks, and what follows it."""
    body = b""
    while True:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        body, data = body + data[:size], data[size + 2 :]
        if size == 0:
            return body, data


def read(stream, seconds):
    """Reads until the server closes or says nothing for so long: the bytes, and whether it closed."""
    data = b""
    stream.settimeout(seconds)
    while True:
        try:
            piece = stream.recv(1 << 16)
        except TimeoutError:
            return data, False
        except ConnectionError:
            return data, True
        if not piece:
            return data, True
        data += piece


def say(stream, data, last):
    stream.settimeout(STUCK)
    try:
        stream.sendall(data)
        if last:
            stream.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # closed already; its answer can still be read


class Server:
    """A lookupd on free ports of 127.0.0.1, ended with its `with`."""

    def __init__(self, program):
        self.log = tempfile.TemporaryFile()
        flags = ["--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0", "--broadcast-address=x"]
        self.child = subprocess.Popen([program, *flags], stderr=self.log)
        deadline = time.monotonic() + 60
        while not (ports := self.listens()) and time.monotonic() < deadline:
            time.sleep(0.02)
        #: The HTTP port, and that of nsqds.
        self.port, self.tcp_port = ports

    def listens(self):
        """Both ports, once the log has them."""
        self.log.seek(0)
        found = dict(re.findall(rb"(TCP|HTTP): listening on 127\.0\.0\.1:(\d+)", self.log.read()))
        return (int(found[b"HTTP"]), int(found[b"TCP"])) if len(found) == 2 else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()

    def topics(self):
        request = b"GET /topics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port)) as stream:
            say(stream, request, True)
            head, _, body = read(stream, STUCK)[0].partition(b"\r\n\r\n")
        body = unchunked(body)[0] if b"Transfer-Encoding: chunked" in head else body
        return sorted(json.loads(body)["topics"])
