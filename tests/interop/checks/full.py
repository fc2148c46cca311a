"""A full registry, and real nsqds that go on creating topics all the same.

What they registered before stays in every lookup; what was refused is there once
others' names were removed: an nsqd never repeats a REGISTER on a live link.
"""

import time
from pathlib import Path

from fleet import POLL_EVERY, command, eventually, expect

EARLY = 10
# Topics that each nsqd creates once the registry is full. An nsqd PINGs every 15 s, and 64 refused
# registrations are tried again at a PING.
REFUSED = 100
# Topics of the nsqd that fills the registry.
FILL = 2 * REFUSED
MOST = FILL + 2 * EARLY
# Scenes, at most, until no nsqd is cut off.
TRIES = 3
# A PING every 15 s, twice, and what a loaded machine adds.
RETRIED = 75


class Scene:
    """A lookupd that its nsqds have filled: one has most of the names, and two create more."""

    def __init__(self, fleet, number):
        self.lookupd = fleet.lookupd(f"lookupd-{number}", [f"--max-registrations={MOST}"])
        self.filler = fleet.nsqd(f"filler-{number}", self.lookupd)
        self.nsqds = [fleet.nsqd(f"nsqd-{name}-{number}", self.lookupd) for name in "ab"]
        names = lambda kind, count: {n: [f"{kind}-{n.tcp}-{i}" for i in range(count)] for n in self.nsqds}
        self.early, self.refused = names("early", EARLY), names("late", REFUSED)
        for nsqd in self.nsqds:
            create(nsqd, self.early[nsqd])
        create(self.filler, [f"fill-{number}" for number in range(FILL)])
        eventually("names", lambda: len(self.lookupd.topics()), MOST)

    def missing(self, names):
        """How many topics of an nsqd its lookups do not show."""
        shown = self.lookupd.producers
        return sum(shown(topic) != {nsqd.tcp} for nsqd in self.nsqds for topic in names[nsqd])

    def is_cut_off(self):
        """Whether an nsqd has given up its link, since a reply did not come within a second.

        Then it registers all its names anew, and those that come last find no room. It is the fault of
        a busy machine, unless the lookupd was busy itself.
        """
        if not any(map(gave_up, [self.filler, *self.nsqds])):
            return False
        expect("long iterations of the lookupd", self.lookupd.long_iterations(), 0)
        return True

    def end(self):
        for process in [self.filler, *self.nsqds, self.lookupd]:
            process.end()


def add_topics(scene, seconds):
    """Creates topics that are refused; False if an nsqd was cut off meanwhile."""
    begun, lookups = time.monotonic(), 0
    for number in range(REFUSED):
        for nsqd in scene.nsqds:
            create(nsqd, [scene.refused[nsqd][number]])
        while True:
            missing = scene.missing(scene.early)
            if missing and scene.is_cut_off():
                return False
            expect("earlier topics missing", missing, 0)
            lookups += 2 * EARLY
            # Leaves the processor to those who are looked at.
            time.sleep(POLL_EVERY)
            if time.monotonic() - begun >= seconds * (number + 1) / REFUSED:
                break
    expect("nsqds in /nodes", set(scene.lookupd.nodes()), {n.tcp for n in [scene.filler, *scene.nsqds]})
    expect("refused topics that are shown", scene.missing(scene.refused), 2 * REFUSED)
    print(f"      {lookups} lookups of earlier topics, {2 * REFUSED} topics refused", flush=True)
    return True


def run(fleet, check, _clients):
    seconds, scene = fleet.tools.full_for, Scene(fleet, 0)
    with check(f"in a full registry nothing is lost in {seconds:.0f} s of new topics"):
        for number in range(1, TRIES):
            if add_topics(scene, seconds):
                break
            print("      an nsqd got no reply within a second: once more", flush=True)
            scene.end()
            scene = Scene(fleet, number)
        else:
            expect("whether all nsqds were connected", add_topics(scene, seconds), True)
    lookupd, filler, nsqds, early, refused = (
        scene.lookupd, scene.filler, scene.nsqds, scene.early, scene.refused
    )

    with check("what was refused is there when an admin has deleted others' names"):
        for number in range(FILL):
            # As nsqadmin does it: on the lookupd, and then on the nsqd.
            for port in (lookupd.http, filler.http):
                command("POST", port, "/topic/delete", {"topic": f"fill-{number}"})
        eventually("refused topics missing", lambda: scene.missing(refused), 0, RETRIED)
        expect("earlier topics missing", scene.missing(early), 0)

    with check("what an nsqd left behind makes room for the topics of another"):
        nsqds[1].kill()
        eventually("its nsqd", lambda: nsqds[1].tcp in lookupd.nodes(), False)
        new = [f"new-{number}" for number in range(REFUSED)]
        create(filler, new)
        shown = lambda: sum(lookupd.producers(topic) == {filler.tcp} for topic in new)
        eventually("new topics", shown, REFUSED)
        expect("topics", len(lookupd.topics()), MOST)
        mine = early[nsqds[0]] + refused[nsqds[0]]
        expect("topics of the other", sum(lookupd.producers(t) == {nsqds[0].tcp} for t in mine), len(mine))


def gave_up(nsqd):
    """Whether the nsqd has given up a command to its lookupd for want of a reply."""
    log = Path(nsqd.log).read_text(encoding="utf-8")
    return any("LOOKUPD(" in line and "i/o timeout" in line for line in log.splitlines())


def create(nsqd, topics):
    for topic in topics:
        command("POST", nsqd.http, "/topic/create", {"topic": topic})
