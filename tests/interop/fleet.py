"""The processes of one scenario: lookupds, nsqds, tools and consumers on loopback.

A Fleet owns a temporary directory and every process it starts; leaving its
`with` block ends each of them by its pid. Waiting is always polling on a
condition with a bound, never a sleep of a guessed length.
"""

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path

HOST = "127.0.0.1"

# Seconds a condition may take before its check fails. Nearly all hold within
# one; the rest is for a loaded machine.
TIMEOUT = 60.0
POLL_EVERY = 0.02
REQUEST_TIMEOUT = 60.0
# More than the five seconds that a lookupd may take.
STOP_TIMEOUT = 30.0


class Failed(Exception):
    """A check does not hold; the text says what was wanted and what was seen."""


def expect(what, seen, wanted):
    """Fails unless `seen` equals `wanted`."""
    if seen != wanted:
        raise Failed(f"{what}: wanted {wanted!r}, got {seen!r}")


def eventually(what, probe, wanted, timeout=TIMEOUT):
    """Polls until `probe()` equals `wanted`.

    A refused or broken connection counts as "not yet"; a malformed answer
    (ValueError, KeyError) does not and ends the check at once.
    """
    begun = time.monotonic()
    while True:
        try:
            seen = probe()
        except (OSError, http.client.HTTPException) as error:
            seen = error
        if seen == wanted:
            return
        if time.monotonic() - begun > timeout:
            raise Failed(f"{what}: wanted {wanted!r}, still {seen!r} after {timeout:.0f} s")
        time.sleep(POLL_EVERY)


def request(method, port, path, query=None, body=None, token=None):
    """One HTTP request on a connection of its own; returns (status, body bytes)."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    target = path + ("?" + urllib.parse.urlencode(query) if query else "")
    connection = http.client.HTTPConnection(HOST, port, timeout=REQUEST_TIMEOUT)
    try:
        connection.request(method, target, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def get_json(port, path, query=None, token=None):
    """GETs a JSON document; anything but 200 fails the check."""
    status, body = request("GET", port, path, query, token=token)
    if status != 200:
        raise Failed(f"GET {path} {query or ''}: {status} {body[:200]!r}")
    return json.loads(body)


def command(method, port, path, query=None, document=None):
    """A request made for its effect; anything but 200 fails the check."""
    body = None if document is None else json.dumps(document)
    status, answer = request(method, port, path, query, body)
    if status != 200:
        raise Failed(f"{method} {path} {query or ''}: {status} {answer[:200]!r}")


def _first_ephemeral_port():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            return int(file.read().split()[0])
    except OSError:
        return 32768


_ports_given = set()


def free_port():
    """A port nobody listens on, below the ephemeral range.

    Inside that range an outgoing connection could take the port of a daemon
    that is down on purpose, and a client that dials it could even reach itself.
    """
    while True:
        port = random.randrange(10240, _first_ephemeral_port())
        if port in _ports_given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        _ports_given.add(port)
        return port


class Process:
    """One child: its command line, its log, its pid; it can be started again."""

    def __init__(self, name, argv, log, stdout=None, env=None):
        self.name, self.argv, self.log = name, argv, log
        self._stdout, self._env = stdout, env
        self._child = None

    def start(self):
        with open(self.log, "ab") as log, open(self._stdout or self.log, "ab") as out:
            self._child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=self._env
            )

    def exit_code(self):
        """None while it runs; negative when a signal ended it."""
        return self._child.poll()

    def pause(self):
        """SIGSTOP, and wait until all threads have stopped: each runs on until the kernel sees it."""
        self._child.send_signal(signal.SIGSTOP)
        eventually(f"states of {self.name}'s threads", self._states, {"T"})

    def resume(self):
        self._child.send_signal(signal.SIGCONT)

    def _states(self):
        stats = Path(f"/proc/{self._child.pid}/task").glob("*/stat")
        # The state follows the name, which may hold spaces and parentheses.
        return {stat.read_text().rpartition(")")[2].split()[0] for stat in stats}

    def kill(self):
        """kill -9, and wait until it is gone."""
        self._child.kill()
        self._child.wait()

    def terminate(self):
        """SIGTERM; returns the exit code. Fails (after kill -9) past STOP_TIMEOUT."""
        self._child.terminate()
        try:
            return self._child.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"{self.name} still ran {STOP_TIMEOUT:.0f} s after SIGTERM") from None

    def end(self):
        """Ends it however that goes; used when a scenario is over."""
        if self._child is None or self._child.poll() is not None:
            return
        try:
            self.resume()
            self.terminate()
        except Failed:
            pass

    def log_tail(self, lines=10):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()[-lines:]


class Daemon(Process):
    """A process with an HTTP port that answers /ping once it is up."""

    def __init__(self, name, argv, log, http_port):
        super().__init__(name, argv, log)
        self.http = http_port
        self.http_address = f"{HOST}:{http_port}"

    def start(self):
        super().start()
        eventually(f"GET /ping of {self.name}", self._up, True)

    def _up(self):
        if self.exit_code() is not None:
            raise Failed(f"{self.name} ended with {self.exit_code()} at its start")
        return request("GET", self.http, "/ping") == (200, b"OK")


class Lookupd(Daemon):
    """The daemon under test (or the control), and what its HTTP side says.

    `token` is what its GETs need, where it was started with such a rule.
    """

    def __init__(self, tools, name, log, arguments=(), token=None):
        tcp_port, http_port = free_port(), free_port()
        self.tcp_address = f"{HOST}:{tcp_port}"
        argv = [
            tools.lookupd,
            f"--tcp-address={self.tcp_address}",
            f"--http-address={HOST}:{http_port}",
            f"--broadcast-address={HOST}",
            *tools.lookupd_args,
            *arguments,
        ]
        super().__init__(name, argv, log, http_port)
        self._token = token

    def _get(self, path, query=None):
        return get_json(self.http, path, query, self._token)

    def topics(self):
        return set(self._get("/topics")["topics"])

    def channels(self, topic):
        return set(self._get("/channels", {"topic": topic})["channels"])

    def producers(self, topic):
        """The TCP ports of the nsqds a consumer would be sent to."""
        query = {"topic": topic}
        status, body = request("GET", self.http, "/lookup", query, token=self._token)
        if status == 404:
            return set()
        expect(f"status of GET /lookup?topic={topic}", status, 200)
        return {producer["tcp_port"] for producer in json.loads(body)["producers"]}

    def long_iterations(self):
        """How many iterations of its TCP workers took more than 0.1 s of CPU."""
        name = 'musterd_loop_iteration_cpu_seconds_{}{{port="tcp"{}}} '
        page = request("GET", self.http, "/metrics", token=self._token)[1].decode().splitlines()
        value = lambda start: next(int(line[len(start):]) for line in page if line.startswith(start))
        return value(name.format("count", "")) - value(name.format("bucket", ',le="0.1"'))

    def nodes(self):
        """{nsqd's TCP port: {topic: is it tombstoned there}}"""
        return {
            node["tcp_port"]: dict(zip(node["topics"], node["tombstones"], strict=True))
            for node in self._get("/nodes")["producers"]
        }


class Nsqd(Daemon):
    """A real nsqd and what is done to it over its own HTTP."""

    def __init__(self, binary, name, log, data, lookupds):
        self.tcp, http_port = free_port(), free_port()
        argv = [
            binary,
            f"--tcp-address={HOST}:{self.tcp}",
            f"--http-address={HOST}:{http_port}",
            f"--broadcast-address={HOST}",
            f"--data-path={data}",
            *(f"--lookupd-tcp-address={lookupd.tcp_address}" for lookupd in lookupds),
        ]
        super().__init__(name, argv, log, http_port)
        self._metadata = os.path.join(data, "nsqd.dat")

    def publish(self, topic, messages):
        for message in messages:
            status, _ = request("POST", self.http, "/pub", {"topic": topic}, message)
            expect(f"POST /pub on {self.name}", status, 200)

    def create_channel(self, topic, channel):
        command("POST", self.http, "/topic/create", {"topic": topic})
        command("POST", self.http, "/channel/create", {"topic": topic, "channel": channel})

    def stats(self):
        """{topic: {channel: messages waiting in it}}"""
        topics = get_json(self.http, "/stats", {"format": "json"})["topics"]
        return {
            topic["topic_name"]: {c["channel_name"]: c["depth"] for c in topic["channels"]}
            for topic in topics
        }

    def saved(self):
        """{topic: its channels} as nsqd finds them on its disk when it starts again."""
        with open(self._metadata, encoding="utf-8") as file:
            topics = json.load(file)["topics"]
        return {topic["name"]: {c["name"] for c in topic["channels"] or ()} for topic in topics}


class Consumer(Process):
    """A client program; whatever lands in its `messages` directory it received."""

    def __init__(self, name, argv, directory, env):
        self.messages = os.path.join(directory, "messages")
        os.makedirs(self.messages)
        stdout = os.path.join(self.messages, "stdout")
        super().__init__(name, argv, os.path.join(directory, "log"), stdout, env)

    def received(self, topic):
        """The set of messages of `topic`; they begin with its name by convention."""
        if self.exit_code() is not None:
            raise Failed(f"{self.name} ended with {self.exit_code()}")
        lines = set()
        for name in os.listdir(self.messages):
            with open(os.path.join(self.messages, name), encoding="utf-8") as file:
                lines.update(line.rstrip("\n") for line in file if line.endswith("\n"))
        return {line for line in lines if line.startswith(topic + " ")}


class Fleet:
    """Starts processes in one temporary directory and ends them all."""

    def __init__(self, tools):
        self.tools = tools
        self._directory = tempfile.mkdtemp(prefix="interop-")
        self._processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self._processes):
            process.end()
        shutil.rmtree(self._directory, ignore_errors=True)

    def lookupd(self, name="lookupd", arguments=(), token=None):
        log = self._path(name + ".log")
        return self._begin(Lookupd(self.tools, name, log, arguments, token))

    def file(self, name, content):
        """A file that only its owner can read; returns its path."""
        path = self._path(name)
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
        return path

    def nsqd(self, name, *lookupds):
        """Starts an nsqd and waits until every lookupd lists it."""
        data = self._path(name)
        os.mkdir(data)
        nsqd = Nsqd(self.tools.go("nsqd"), name, self._path(name + ".log"), data, lookupds)
        self._begin(nsqd)
        for lookupd in lookupds:
            eventually(f"{name} in /nodes", lambda: nsqd.tcp in lookupd.nodes(), True)
        return nsqd

    def nsqadmin(self, *lookupds):
        port = free_port()
        argv = [
            self.tools.go("nsqadmin"),
            f"--http-address={HOST}:{port}",
            "--http-client-request-timeout=5s",
            *(f"--lookupd-http-address={lookupd.http_address}" for lookupd in lookupds),
        ]
        return self._begin(Daemon("nsqadmin", argv, self._path("nsqadmin.log"), port))

    def consumer(self, client, topic, channel, lookupd_addresses):
        """Starts a client of the table in clients.py."""
        directory = self._path(f"consumer-{len(self._processes)}")
        messages = os.path.join(directory, "messages")
        argv, env = client.command(self.tools, topic, channel, lookupd_addresses, messages)
        return self._begin(Consumer(client.name, argv, directory, env))

    def logs(self, consumer=None):
        """The last lines of every daemon and of `consumer`, to report a failure with."""
        for process in self._processes:
            if isinstance(process, Daemon) or process is consumer:
                yield process.name, process.log_tail()

    def _begin(self, process):
        self._processes.append(process)
        process.start()
        return process

    def _path(self, name):
        return os.path.join(self._directory, name)
