"""The servers that are compared, and the programs that load them: build, start, ask, stop."""

import http.client
import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path

from . import machine

ROOT = Path(__file__).resolve().parents[2]


def build(lto=False, already=False):
    """Builds everything, unless it is `already`; paths by name."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    profile = "release-lto" if lto else "release"
    words = ["cargo", "build", "--profile", profile, "--bins", "-p", "musterd", "-p", "baselines", "-p", "driver"]
    if not already:
        subprocess.run(words, cwd=ROOT, check=True)
    interop = subprocess.run([ROOT / "tests/interop/build"], check=True, text=True, stdout=subprocess.PIPE)
    programs = {name: target / profile / name for name in ("musterd", "baselines", "driver")}
    programs["musterd-thread"] = programs["musterd"]
    return programs | {"nsqlookupd": Path(interop.stdout.strip()) / "nsqlookupd"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server. Use it in a `with`."""

    def __init__(self, words, tcp=None, http=None):
        self.tcp, self.http = tcp, http
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for port in (tcp, http):
            if port:
                self._wait_for(port)

    @classmethod
    def lookupd(cls, program, *flags):
        """nsqlookupd or musterd: they take the same flags."""
        tcp, http = free_port(), free_port()
        words = [program, "--log-level=error", f"--tcp-address=127.0.0.1:{tcp}",
                 f"--http-address=127.0.0.1:{http}", "--broadcast-address=127.0.0.1", *flags]
        return cls(words, tcp, http)

    @classmethod
    def baseline(cls, program, kind, body=0):
        port = free_port()
        words = [program, kind, f"127.0.0.1:{port}", str(body)]
        return cls(words, **{kind.partition("-")[0]: port})

    def _wait_for(self, port):
        for _ in range(500):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.process.args[0]} ended with {self.process.returncode}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise TimeoutError(f"{self.process.args[0]} does not listen on {port}")

    def cpu(self):
        return machine.cpu_seconds(self.process.pid)

    def memory(self, key="VmRSS"):
        return machine.memory_bytes(self.process.pid, key)

    def alive(self):
        """Whether it runs; one that dies of what it was just sent is given a moment to be dead."""
        try:
            self.process.wait(0.2)
        except subprocess.TimeoutExpired:
            return True
        return False

    def get(self, target, timeout=60):
        """One GET on a connection of its own: seconds and body."""
        link = http.client.HTTPConnection("127.0.0.1", self.http, timeout=timeout)
        start = time.monotonic()
        link.request("GET", target)
        body = link.getresponse().read()
        link.close()
        return time.monotonic() - start, body

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # nsqlookupd does not end while a TCP peer says nothing; its state is worth nothing.
        self.process.kill()
        self.process.wait()


class Driver:
    """The client process: says when it is ready, runs when it is told, then holds."""

    def __init__(self, program, scenario, **options):
        words = [program, scenario]
        for name, value in options.items():
            flag = "--" + name.replace("_", "-")
            words += [flag] if value is True else [flag, str(value)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.hear()

    def hear(self):
        line = self.process.stdout.readline()
        said = json.loads(line) if line else {"error": "the driver ended"}
        if "error" in said:
            raise RuntimeError(f"{self.process.args}: {said['error']}")
        return said

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def run(self):
        self.go()
        return self.hear()

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def wrk(port, target, connections, seconds):
    """Loads with one thread of wrk: requests, rate, latencies in milliseconds, errors."""
    url = f"http://127.0.0.1:{port}{target}"
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", url]
    text = subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE).stdout
    result = {
        "requests": int(re.search(r"(\d+) requests in", text)[1]),
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        "errors": "Non-2xx" in text or "Socket errors" in text,
    }
    for label in ("50", "99"):
        value, unit = re.search(rf"{label}%\s+([\d.]+)(us|ms|s|m)\b", text).groups()
        result[f"p{label}_ms"] = float(value) * UNITS[unit]
    return result
