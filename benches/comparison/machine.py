"""What a process costs, and what machine this is: all from /proc and the tools' own versions."""

import os
import platform
import subprocess
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of a process so far, all its threads, in seconds."""
    # The name may hold spaces and parentheses: fields count from the last one.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def memory_bytes(pid, key="VmRSS"):
    """Resident memory now (`VmRSS`), or at its highest (`VmHWM`)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(key)


def command(*words, cwd=None):
    """The first line a command prints, or why there is none."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd)
    except OSError as error:
        return str(error)
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def describe(root):
    """Versions and machine, as label and text."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024 / 1024
    return [
        ("commit", command("git", "describe", "--always", "--dirty", cwd=root)),
        ("machine", f"{os.cpu_count()} × {model}, {memory:.0f} GiB"),
        ("load average while measuring", f"{os.getloadavg()[2]:.1f}"),
        ("kernel", f"{platform.system()} {platform.release()}"),
        ("rustc", command("rustc", "--version")),
        ("go", command("go", "version")),
        ("wrk", command("wrk", "-v")),
        ("python", platform.python_version()),
    ]
