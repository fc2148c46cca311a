"""Runs the interop matrix: real NSQ programs and clients against one lookupd.

Prints one line per check and ends with `N passed, N failed`. Exit code 0 when
nothing failed (under CI=true: and nothing was skipped), 1 otherwise, 2 when it
could not begin.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback

from checks import admin, discovery, full, outages, precreation, reads
from clients import ALL
from fleet import Failed, Fleet
from tools import ROOT, TARGET, Missing, Tools

SCENARIOS = {
    "discovery": discovery.run,
    "precreation": precreation.run,
    "admin": admin.run,
    "dead-nsqd": outages.dead_nsqd,
    "dead-lookupd": outages.dead_lookupd,
    "idle-nsqds": outages.idle_nsqds,
    "read-rules": reads.run,
    "full-registry": full.run,
}
# What only musterd has the flags for.
OWN = {"read-rules", "full-registry"}


class Report:
    """Counts and prints the outcome of every check."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def skip(self, what, why):
        self.skipped += 1
        print(f"SKIP  {what}: {why}", flush=True)

    def fail(self, what, why, logs=()):
        self.failed += 1
        print(f"FAIL  {what}\n      {why}", flush=True)
        for name, lines in logs:
            print(f"      --- the last of {name}'s log")
            for line in lines:
                print(f"      {line}")
        sys.stdout.flush()

    @contextlib.contextmanager
    def check(self, what, fleet, consumer=None):
        """Prints PASS when the block ends and FAIL when it raises; goes on either way.

        A failure shows the logs of the daemons and of `consumer`.
        """
        begun = time.monotonic()
        try:
            yield
        except Exception as error:
            why = str(error) if isinstance(error, Failed) else traceback.format_exc()
            self.fail(what, why, fleet.logs(consumer))
        else:
            self.passed += 1
            print(f"PASS  {what}  ({time.monotonic() - begun:.2f} s)", flush=True)

    def finish(self):
        tail = f", {self.skipped} skipped" if self.skipped else ""
        print(f"{self.passed} passed, {self.failed} failed{tail}", flush=True)
        must_not_skip = os.environ.get("CI") == "true"
        return 1 if self.failed or (self.skipped and must_not_skip) else 0


def arguments():
    parser = argparse.ArgumentParser(prog="tests/interop/run", description=__doc__.split("\n")[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--lookupd", metavar="PATH", default=os.path.join(TARGET, "release", "musterd"),
                       help="the lookupd to run against (default: %(default)s)")
    which.add_argument("--control", action="store_true",
                       help="run against the nsqlookupd that tests/interop/build builds")
    parser.add_argument("--lookupd-arg", metavar="ARG", action="append", default=[],
                        help="a further argument for the lookupd; may be repeated")
    parser.add_argument("--only", metavar="NAME", action="append", choices=SCENARIOS,
                        help=f"run only this scenario; may be repeated ({', '.join(SCENARIOS)})")
    parser.add_argument("--full-for", metavar="SECONDS", type=float, default=20,
                        help="how long nsqds create topics in full-registry (default: %(default)s)")
    return parser.parse_args()


def prepare(tools, report):
    """Builds what can be built; returns the parts (go, python, node) that are there."""
    ready = set()
    builds = {"go": tools.build_go, "python": tools.build_python, "node": tools.build_node}
    for part, build in builds.items():
        try:
            build()
            ready.add(part)
        except Missing as missing:
            report.skip(f"everything that needs {part}", missing)
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            report.fail(f"building what needs {part}", error)
        if "go" not in ready:
            break  # without nsqd there is nothing to look up
    return ready


def version_of(lookupd):
    """What `lookupd --version` prints; None, with the remedy printed, when it cannot run."""
    try:
        asked = subprocess.run([lookupd, "--version"], stdout=subprocess.PIPE, text=True,
                               timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"cannot run {lookupd}: {error}\n"
              f"Build it first (cargo build --release in {ROOT}) or name another with --lookupd.")
        return None
    return asked.stdout.strip()


def scenario(name, tools, report, clients):
    """One scenario on a fleet of its own; what it raises outside a check fails it as a whole."""
    with Fleet(tools) as fleet:

        def check(what, consumer=None):
            return report.check(f"{name}: {what}", fleet, consumer)

        try:
            SCENARIOS[name](fleet, check, clients)
        except Exception as error:
            why = str(error) if isinstance(error, Failed) else traceback.format_exc()
            report.fail(f"{name}: setting the scene", why, fleet.logs())


def main():
    options = arguments()
    report = Report()
    tools = Tools(options.lookupd, options.lookupd_arg, options.full_for)
    if options.control:
        tools.lookupd = tools.go("nsqlookupd")
    ready = prepare(tools, report)
    if "go" not in ready:
        return report.finish()
    version = version_of(tools.lookupd)
    if version is None:
        return 2
    print(f"against {version} ({' '.join([tools.lookupd, *tools.lookupd_args])})", flush=True)

    clients = [client for client in ALL if client.needs in ready]
    for name in options.only or SCENARIOS:
        if name in OWN and "musterd" not in version:
            print(f"      {name}: only musterd has its flags", flush=True)
            continue
        scenario(name, tools, report, clients)
    return report.finish()


if __name__ == "__main__":
    # Exits as Ctrl-C does, so that every `with Fleet` ends its processes.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
