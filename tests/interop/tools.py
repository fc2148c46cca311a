"""What the matrix needs of the machine, and building it once.

Everything built lands in the target directory (git ignores it): Go programs in
`interop/bin`, Python clients in `interop/venv`, Node clients in `interop/node`.
"""

import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CLIENTS = os.path.join(HERE, "clients")
TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target"))
BUILT = os.path.join(TARGET, "interop")
BUILD_TIMEOUT = 900


class Missing(Exception):
    """A tool the machine does not have; the part that needs it is skipped."""


def need(program):
    if shutil.which(program) is None:
        raise Missing(f"{program} is not installed")


def run_to_end(argv, **options):
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=BUILD_TIMEOUT, check=False, **options,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}:\n{tail}")
    return done.stdout


def once(directory, fingerprint, make):
    """Calls `make` on an empty `directory` unless that was done for `fingerprint`."""
    stamp = os.path.join(directory, ".fingerprint")
    try:
        with open(stamp, encoding="utf-8") as file:
            if file.read() == fingerprint:
                return
    except OSError:
        pass
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    make()
    with open(stamp, "w", encoding="utf-8") as file:
        file.write(fingerprint)


def _pinned(name):
    with open(os.path.join(CLIENTS, name), encoding="utf-8") as file:
        return file.read()


class Tools:
    """Paths and command prefixes of everything a scenario starts."""

    def __init__(self, lookupd, lookupd_args, full_for):
        self.lookupd = lookupd
        self.lookupd_args = lookupd_args
        self.full_for = full_for
        self.python = os.path.join(BUILT, "venv", "bin", "python")
        self.node_modules = os.path.join(BUILT, "node", "node_modules")

    def go(self, program):
        return os.path.join(BUILT, "bin", program)

    def build_go(self):
        need("go")
        run_to_end([os.path.join(HERE, "build")])

    def build_python(self):
        """A virtual environment with the versions requirements.txt pins."""
        venv = os.path.join(BUILT, "venv")

        def make():
            run_to_end([sys.executable, "-m", "venv", venv])
            requirements = os.path.join(CLIENTS, "requirements.txt")
            pip = [self.python, "-m", "pip", "--disable-pip-version-check"]
            run_to_end([*pip, "install", "--quiet", "-r", requirements])

        once(venv, sys.version + _pinned("requirements.txt"), make)

    def build_node(self):
        """node_modules as package-lock.json pins it; no package's scripts run."""
        need("node")
        need("npm")
        node = os.path.join(BUILT, "node")

        def make():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(os.path.join(CLIENTS, name), node)
            run_to_end(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=node)

        once(node, run_to_end(["node", "--version"]) + _pinned("package-lock.json"), make)
