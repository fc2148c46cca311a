"""A full registry, and real nsqds that go on creating topics all the same.

What they registered before stays in every lookup; what was refused is there once
others' names were removed: an nsqd never repeats a REGISTER on a live link.
"""

import time

from fleet import POLL_EVERY, command, eventually, expect

EARLY = 10
# Topics that each nsqd creates once the registry is full. An nsqd PINGs every 15 s, and 64 refused
# registrations are tried again at a PING.
REFUSED = 100
# Topics of the nsqd that fills the registry.
FILL = 2 * REFUSED
# A PING every 15 s, twice, and what a loaded machine adds.
RETRIED = 75


def run(fleet, check, _clients):
    most = FILL + 2 * EARLY
    lookupd = fleet.lookupd("lookupd", [f"--max-registrations={most}"])
    filler = fleet.nsqd("filler", lookupd)
    nsqds = [fleet.nsqd("nsqd-a", lookupd), fleet.nsqd("nsqd-b", lookupd)]
    early = {nsqd: [f"early-{nsqd.tcp}-{number}" for number in range(EARLY)] for nsqd in nsqds}
    refused = {nsqd: [f"late-{nsqd.tcp}-{number}" for number in range(REFUSED)] for nsqd in nsqds}
    for nsqd in nsqds:
        create(nsqd, early[nsqd])
    create(filler, [f"fill-{number}" for number in range(FILL)])
    eventually("names", lambda: len(lookupd.topics()), most)

    def missing(names):
        """How many topics of an nsqd its lookups do not show."""
        return sum(lookupd.producers(topic) != {nsqd.tcp} for nsqd in nsqds for topic in names[nsqd])

    seconds = fleet.tools.full_for
    with check(f"in a full registry nothing is lost in {seconds:.0f} s of new topics"):
        begun, lookups = time.monotonic(), 0
        for number in range(REFUSED):
            for nsqd in nsqds:
                create(nsqd, [refused[nsqd][number]])
            while True:
                expect("earlier topics missing", missing(early), 0)
                lookups += 2 * EARLY
                # Leaves the processor to those who are looked at.
                time.sleep(POLL_EVERY)
                if time.monotonic() - begun >= seconds * (number + 1) / REFUSED:
                    break
        expect("nsqds in /nodes", set(lookupd.nodes()), {nsqd.tcp for nsqd in [filler, *nsqds]})
        expect("refused topics that are shown", missing(refused), 2 * REFUSED)
        print(f"      {lookups} lookups of earlier topics, {2 * REFUSED} topics refused", flush=True)

    with check("what was refused is there when an admin has deleted others' names"):
        for number in range(FILL):
            # As nsqadmin does it: on the lookupd, and then on the nsqd.
            for port in (lookupd.http, filler.http):
                command("POST", port, "/topic/delete", {"topic": f"fill-{number}"})
        eventually("refused topics missing", lambda: missing(refused), 0, RETRIED)
        expect("earlier topics missing", missing(early), 0)

    with check("what an nsqd left behind makes room for the topics of another"):
        nsqds[1].kill()
        eventually("its nsqd", lambda: nsqds[1].tcp in lookupd.nodes(), False)
        new = [f"new-{number}" for number in range(REFUSED)]
        create(filler, new)
        shown = lambda: sum(lookupd.producers(topic) == {filler.tcp} for topic in new)
        eventually("new topics", shown, REFUSED)
        expect("topics", len(lookupd.topics()), most)
        mine = early[nsqds[0]] + refused[nsqds[0]]
        expect("topics of the other", sum(lookupd.producers(t) == {nsqds[0].tcp} for t in mine), len(mine))


def create(nsqd, topics):
    for topic in topics:
        command("POST", nsqd.http, "/topic/create", {"topic": topic})
