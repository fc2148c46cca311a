"""Every client finds two nsqds through the lookupd and gets both's messages."""

import re

from fleet import eventually, expect

CHANNEL = "work"
MESSAGES_PER_NSQD = 5


def run(fleet, check, clients):
    """Starts all clients at once, each with a topic of its own, then checks them in turn."""
    lookupd = fleet.lookupd()
    nsqds = [fleet.nsqd("nsqd-a", lookupd), fleet.nsqd("nsqd-b", lookupd)]
    started = []
    for client in clients:
        topic = topic_of(client)
        waiting = publish(nsqds, topic, "waiting")
        eventually(f"producers of {topic}", lambda: lookupd.producers(topic), ports(nsqds))
        address = lookupd.http_address + client.suffix
        started.append((client, topic, waiting, fleet.consumer(client, topic, CHANNEL, [address])))

    for client, topic, waiting, consumer in started:
        with check(f"{client.name}: discovers two nsqds and receives both's messages", consumer):
            eventually("messages published before it came", lambda: consumer.received(topic), waiting)
            eventually("its channel on the lookupd", lambda: lookupd.channels(topic), {CHANNEL})
            live = publish(nsqds, topic, "live")
            eventually("messages published live", lambda: consumer.received(topic), waiting | live)

    with check("the lookupd stops on SIGTERM with exit code 0 while nsqds and consumers are there"):
        expect("exit code", lookupd.terminate(), 0)


def topic_of(client):
    """A topic name for this client alone."""
    return re.sub(r"[^a-z0-9]+", "-", client.name.lower()).strip("-")


def publish(nsqds, topic, kind):
    """Publishes distinct messages on every nsqd; returns them all."""
    everything = set()
    for nsqd in nsqds:
        messages = {f"{topic} {kind} {nsqd.name} {n}" for n in range(MESSAGES_PER_NSQD)}
        nsqd.publish(topic, sorted(messages))
        everything |= messages
    return everything


def ports(nsqds):
    return {nsqd.tcp for nsqd in nsqds}
