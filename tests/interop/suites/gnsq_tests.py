"""gnsq's own tests that start a lookupd, from its source package: the files are not changed.

They call `nsqlookupd` and `nsqd` by name; the folder that is first in their PATH has the lookupd
under test as `nsqlookupd`. gnsq's other tests start no lookupd. (pynsq's source package has no tests.)
"""

import os
import re
import shutil
import sys
import tarfile
import tempfile
import xml.etree.ElementTree
from glob import glob

from cases import FAIL, PASS, SKIP, Result, run_bounded
from tools import BUILT, HERE, once, run_to_end

HOME = os.path.join(BUILT, "gnsq")
SOURCE = os.path.join(HOME, "source")
#: What a test file that starts a lookupd imports.
STARTS_A_LOOKUPD = "import.*LookupdIntegrationServer|LookupdIntegrationServer,$"


def build():
    """The source package, unpacked, and a virtual environment with what its tests need."""
    pins = {name: os.path.join(HERE, "suites", name) for name in ("gnsq-source.txt", "gnsq-needs.txt")}
    fingerprint = sys.version
    for path in pins.values():
        with open(path, encoding="utf-8") as file:
            fingerprint += file.read()

    def make():
        run_to_end([sys.executable, "-m", "venv", os.path.join(HOME, "venv")])
        pip = [os.path.join(HOME, "venv", "bin", "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        run_to_end([*pip, "install", "-r", pins["gnsq-needs.txt"]])
        run_to_end([*pip, "download", "--no-deps", "--no-binary", ":all:", "-d", HOME, "-r", pins["gnsq-source.txt"]])
        with tarfile.open(glob(os.path.join(HOME, "gnsq-*.tar.gz"))[0]) as package:
            package.extractall(HOME, filter="data")
        os.rename(glob(os.path.join(HOME, "gnsq-*[0-9]"))[0], SOURCE)

    once(HOME, fingerprint, make)


class Gnsq:
    """The tests of gnsq that start a lookupd."""

    name = "gnsq"

    @staticmethod
    def _files():
        """{file: its text}"""
        texts = {}
        for path in sorted(glob(os.path.join(SOURCE, "tests", "test_*.py"))):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            if re.search(STARTS_A_LOOKUPD, text, re.MULTILINE):
                texts[path] = text
        return texts

    def cases(self):
        return {
            f"{os.path.basename(path)[:-3]}.{name}"
            for path, text in self._files().items()
            for name in re.findall(r"^def (test_\w+)\(", text, re.MULTILINE)
        }

    def run(self, lookupd, names=None):
        with tempfile.TemporaryDirectory(prefix="suites-") as scratch:
            os.symlink(lookupd, os.path.join(scratch, "nsqlookupd"))
            os.symlink(os.path.join(BUILT, "bin", "nsqd"), os.path.join(scratch, "nsqd"))
            report = os.path.join(scratch, "report.xml")
            python = os.path.join(HOME, "venv", "bin", "python")
            argv = [python, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *self._files()]
            if names:
                argv += ["-k", " or ".join(sorted(name.rpartition(".")[2] for name in names))]
            env = {**os.environ, "PATH": scratch + os.pathsep + os.environ["PATH"]}
            run_bounded(argv, os.path.join(HOME, "log"), cwd=SOURCE, env=env)
            if not os.path.exists(report):
                return {}
            return _results(report)


def _results(report):
    """{case: Result}; of a case with several parameters the worst."""
    results = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname').rpartition('.')[2]}.{case.get('name').partition('[')[0]}"
        told = {part.tag: part.text or part.get("message") or "" for part in case}
        bad = told.get("failure", told.get("error"))
        if bad is not None:
            results[name] = Result(FAIL, bad)
        elif "skipped" in told:
            results.setdefault(name, Result(SKIP, told["skipped"]))
        else:
            results.setdefault(name, Result(PASS))
    return results


SUITES = [Gnsq()]
