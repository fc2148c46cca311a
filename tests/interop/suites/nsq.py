"""nsqio/nsq's own tests: a package's test files, unchanged, with our package `nsqlookupd`.

The module comes from Go's module cache, at the version of ../go.mod. A copy of it has the files
of suites/nsqlookupd in place of nsqlookupd's own; each package's tests are compiled there once.
"""

import json
import os
import re
import shutil
from glob import glob

from cases import FAIL, PASS, SKIP, Result, run_bounded
from tools import BUILT, HERE, need, once, run_to_end

MODULE = "github.com/nsqio/nsq"
OURS = os.path.join(HERE, "suites", "nsqlookupd")
COPY = os.path.join(BUILT, "nsq")

DB = "calls methods of the Go type RegistrationDB; there is no process in it"
LOOP = "calls LookupProtocolV1.IOLoop with a fake net.Conn; there is no process in it"
#: Test files that look into Go types of nsqlookupd, which our package does not have, so that they
#: are left out. Each of their tests is named with the reason that it cannot run.
LEFT_OUT = {
    "nsqlookupd/registration_db_test.go": {"TestRegistrationDB": DB},
    "nsqlookupd/lookup_protocol_v1_test.go": {
        "TestIOLoopReturnsClientErrWhenSendFails": LOOP,
        "TestIOLoopReturnsClientErrWhenSendSucceeds": LOOP,
    },
}


def _test_functions(path):
    with open(path, encoding="utf-8") as file:
        return set(re.findall(r"^func (Test\w+)\(\w+ \*testing\.T\)", file.read(), re.MULTILINE))


def build():
    """Copies the module and compiles the tests; raises tools.Missing without Go."""
    need("go")
    listed = run_to_end(["go", "list", "-m", "-json", MODULE], cwd=HERE)
    module = json.loads(listed)
    fingerprint = run_to_end(["go", "version"]) + module["Version"]
    for path in sorted(glob(os.path.join(OURS, "*.go"))) + [os.path.abspath(__file__)]:
        with open(path, encoding="utf-8") as file:
            fingerprint += file.read()

    def make():
        # The cache's files are read-only; their modes are not copied.
        shutil.copytree(module["Dir"], COPY, dirs_exist_ok=True, copy_function=shutil.copyfile)
        for path in glob(os.path.join(COPY, "nsqlookupd", "*.go")):
            if not path.endswith("_test.go"):
                os.remove(path)
        for path, named in LEFT_OUT.items():
            there = _test_functions(os.path.join(COPY, path))
            if there != set(named):
                raise RuntimeError(f"{path} has the tests {sorted(there)}, LEFT_OUT names {sorted(named)}")
            os.remove(os.path.join(COPY, path))
        for path in glob(os.path.join(OURS, "*.go")):
            shutil.copy(path, os.path.join(COPY, "nsqlookupd"))
        for suite in SUITES:
            run_to_end(["go", "test", "-c", "-o", suite.binary, "./" + suite.package], cwd=COPY)

    once(COPY, fingerprint, make)


class NsqPackage:
    """The tests of one package of nsqio/nsq."""

    def __init__(self, package):
        self.name = f"{MODULE}/{package}"
        self.package = package
        self.directory = os.path.join(COPY, package)
        self.binary = os.path.join(COPY, package.replace("/", "-") + ".test")

    def cases(self):
        """The names of all tests that must run."""
        files = glob(os.path.join(self.directory, "*_test.go"))
        return set().union(*(_test_functions(path) for path in files))

    def run(self, lookupd, names=None):
        """Runs the tests `names`, or all; returns {name: Result}."""
        only = [f"-test.run=^({'|'.join(sorted(names))})$"] if names else []
        said = run_bounded([self.binary, "-test.v", *only], self.binary + ".log", cwd=self.directory,
                           env={**os.environ, "LOOKUPD": lookupd})
        outcomes = {"PASS": PASS, "FAIL": FAIL, "SKIP": SKIP}
        found = re.findall(r"^--- (PASS|FAIL|SKIP): (\w+) \(", said, re.MULTILINE)
        return {name: Result(outcomes[outcome], self._output(said, name)) for outcome, name in found}

    @staticmethod
    def _output(said, name):
        """What the log says from a test's begin to the next one's."""
        begun = re.search(rf"^=== RUN +{name}$.*?(?=^=== RUN +\w+$|\Z)", said, re.MULTILINE | re.DOTALL)
        return begun[0] if begun else ""


SUITES = [NsqPackage(package) for package in ("nsqlookupd", "nsqadmin", "internal/clusterinfo", "nsqd")]
