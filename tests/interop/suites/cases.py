"""What the test suites of others have in common: cases, their results, and a bounded run.

Must not: know a suite.
"""

import os
import signal
import subprocess
from typing import NamedTuple

PASS, FAIL, SKIP = "passed", "failed", "skipped"
#: Seconds that one run of a suite may take; all take 10 to 15.
RUN_TIMEOUT = 300


class Result(NamedTuple):
    """What became of one case, and what it said."""

    outcome: str
    output: str = ""


def run_bounded(argv, log, **options):
    """Runs a program, both outputs into the file `log`, and ends all that it started and left.

    Returns the content of `log`. Past RUN_TIMEOUT the program is ended too; cases without a result
    show it.
    """
    with open(log, "wb") as out:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                 start_new_session=True, **options)
        try:
            child.wait(RUN_TIMEOUT)
        except subprocess.TimeoutExpired:
            out.write(f"\nended after {RUN_TIMEOUT} s\n".encode())
        finally:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
    with open(log, encoding="utf-8", errors="replace") as file:
        return file.read()
