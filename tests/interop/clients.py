"""The client libraries of the matrix: how each one's program is started.

A program gets a topic, a channel and lookupd addresses, and writes each message
it receives as one line, to its stdout or into its `messages` directory. The
first lookup comes at the start; the poll after that is set to about a second
where the library allows it (most wait a minute by default).
"""

import os
from typing import Callable, NamedTuple

from tools import CLIENTS


class Client(NamedTuple):
    """One row of the matrix."""

    name: str
    # Which part of the machine it needs: go, python or node.
    needs: str
    # (tools, topic, channel, lookupd addresses, messages directory) -> argv, env
    command: Callable
    # What is appended to each lookupd address.
    suffix: str = ""
    # Whether it works at all while the first lookupd it asks is down. The three
    # that do not are named in README.md with the reason.
    fails_over: bool = True


def nsq_tail(*consumer_options):
    """go-nsq's nsq_tail, with further `--consumer-opt`s: each `NAME,VALUE`."""

    def command(tools, topic, channel, lookupds, _):
        return [
            tools.go("nsq_tail"),
            f"--topic={topic}",
            f"--channel={channel}",
            *(f"--consumer-opt={option}" for option in ("lookupd_poll_interval,1s", *consumer_options)),
            *(f"--lookupd-http-address={address}" for address in lookupds),
        ], None

    return command


def _nsq_to_file(tools, topic, channel, lookupds, messages):
    # A pattern instead of a topic, so that it finds the topic by GET /topics.
    return [
        tools.go("nsq_to_file"),
        f"--topic-pattern=^{topic}$",
        "--topic-refresh=200ms",
        f"--channel={channel}",
        f"--output-dir={messages}",
        "--sync-interval=100ms",
        "--consumer-opt=lookupd_poll_interval,1s",
        *(f"--lookupd-http-address={address}" for address in lookupds),
    ], None


def _python(script):
    path = os.path.join(CLIENTS, script)

    def start(tools, topic, channel, lookupds, _):
        return [tools.python, "-B", "-u", path, topic, channel, *lookupds], None

    return start


def _nsqjs(tools, topic, channel, lookupds, _):
    env = {**os.environ, "NODE_PATH": tools.node_modules}
    return ["node", os.path.join(CLIENTS, "nsqjs_tail.js"), topic, channel, *lookupds], env


ALL = [
    Client("nsq_tail (go-nsq)", "go", nsq_tail()),
    Client("nsq_tail, query in the lookupd URL", "go", nsq_tail(), "/lookup?zone=a"),
    Client("nsq_to_file", "go", _nsq_to_file, fails_over=False),
    Client("pynsq", "python", _python("pynsq_tail.py")),
    Client("pynsq, query in the lookupd URL", "python", _python("pynsq_tail.py"), "/lookup?zone=a"),
    Client("asyncnsq", "python", _python("asyncnsq_tail.py"), fails_over=False),
    Client("ansq", "python", _python("ansq_tail.py")),
    Client("gnsq", "python", _python("gnsq_tail.py"), fails_over=False),
    Client("nsqjs", "node", _nsqjs),
]
