"""What the fleet notices when an nsqd dies, and when one of two lookupds does."""

import time

from checks.discovery import CHANNEL, ports, publish, topic_of
from fleet import eventually, expect

# Seconds between an nsqd's PINGs; a broken link is repaired at one of them. On a busy machine it may
# take more than one, since nsqd gives a reply a second.
PING_EVERY = 15
RECONNECTED = 4 * PING_EVERY


def dead_nsqd(fleet, check, _clients):
    lookupd = fleet.lookupd()
    nsqds = [fleet.nsqd(name, lookupd) for name in ("killed", "stopped", "survivor")]
    for nsqd in nsqds:
        nsqd.create_channel("orders", CHANNEL)
        eventually(f"nsqd.dat of {nsqd.name}", nsqd.saved, {"orders": {CHANNEL}})
    eventually("producers", lambda: lookupd.producers("orders"), ports(nsqds))
    killed, stopped, survivor = nsqds

    with check("an nsqd ended by kill -9 leaves /lookup and /nodes"):
        killed.kill()
        eventually("producers", lambda: lookupd.producers("orders"), ports([stopped, survivor]))
        expect("nodes", set(lookupd.nodes()), ports([stopped, survivor]))

    with check("an nsqd ended by SIGTERM leaves /lookup and /nodes"):
        expect("exit code", stopped.terminate(), 0)
        eventually("producers", lambda: lookupd.producers("orders"), ports([survivor]))
        expect("nodes", lookupd.nodes(), {survivor.tcp: {"orders": False}})

    with check("an nsqd that is started again is back, and a topic outlives its last nsqd"):
        survivor.kill()
        eventually("producers", lambda: lookupd.producers("orders"), set())
        expect("topics", lookupd.topics(), {"orders"})
        expect("channels", lookupd.channels("orders"), {CHANNEL})
        killed.start()
        eventually("nodes", lookupd.nodes, {killed.tcp: {"orders": False}})


def idle_nsqds(fleet, check, _clients):
    """A restarted lookupd and nsqds with nothing to say: the first PING fails, the second dials."""
    lookupd = fleet.lookupd()
    nsqds = [fleet.nsqd(f"nsqd-{number}", lookupd) for number in range(4)]
    with check("idle nsqds are back when the lookupd was restarted"):
        lookupd.kill()
        lookupd.start()
        begun, back = time.monotonic(), {}

        def shown():
            for port in lookupd.nodes():
                back.setdefault(port, time.monotonic() - begun)
            return set(back)

        eventually("nsqds", shown, ports(nsqds), RECONNECTED)
        times = ", ".join(f"{seconds:.1f}" for seconds in sorted(back.values()))
        print(f"      they were back after {times} s", flush=True)


def dead_lookupd(fleet, check, clients):
    """Two lookupds; the first ends by kill -9 and is started again.

    nsqd notices a broken link when a command fails on it and dials again at the
    command after that. A topic created during the outage is that failing
    command, so the very next PING reconnects; an idle fleet takes one more PING.
    """
    first, second = fleet.lookupd("lookupd-1"), fleet.lookupd("lookupd-2")
    nsqds = [fleet.nsqd("nsqd-a", first, second), fleet.nsqd("nsqd-b", first, second)]
    publish(nsqds, "before", "waiting")
    for lookupd in (first, second):
        eventually("producers", lambda: lookupd.producers("before"), ports(nsqds))

    first.kill()
    able = [client for client in clients if client.fails_over]
    survives_on(fleet, check, nsqds, first, second, able)
    first.start()
    with check("the restarted lookupd is complete when the nsqds have sent PINGs"):
        everything = {nsqd.tcp: dict.fromkeys(nsqd.stats(), False) for nsqd in nsqds}
        eventually("its nodes", first.nodes, everything, RECONNECTED)
        eventually("the other's nodes", second.nodes, everything, RECONNECTED)
        eventually("topics", first.topics, second.topics())
        for topic in second.topics():
            eventually(f"channels of {topic}", lambda: first.channels(topic), second.channels(topic))

    with check("the restarted lookupd alone serves a new consumer"):
        second.kill()
        client = clients[0]
        waiting = publish(nsqds, "after", "waiting")
        eventually("producers", lambda: first.producers("after"), ports(nsqds))
        consumer = fleet.consumer(client, "after", CHANNEL, [first.http_address])
        eventually("messages", lambda: consumer.received("after"), waiting)


def survives_on(fleet, check, nsqds, dead, alive, clients):
    """While `dead` is down: new topics appear on `alive`, new consumers find them there."""
    started = []
    with check("while one lookupd is dead, new topics appear on the other"):
        for client in clients:
            topic = topic_of(client)
            waiting = publish(nsqds, topic, "waiting")
            eventually(f"producers of {topic}", lambda: alive.producers(topic), ports(nsqds))
            addresses = [l.http_address + client.suffix for l in (dead, alive)]
            started.append((client, topic, waiting, addresses))
    started = [(*one, fleet.consumer(one[0], one[1], CHANNEL, one[3])) for one in started]
    for client, topic, waiting, _, consumer in started:
        with check(f"{client.name}: finds its nsqds through the lookupd that is left", consumer):
            eventually("messages", lambda: consumer.received(topic), waiting)
