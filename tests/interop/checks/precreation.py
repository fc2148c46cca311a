"""nsqd asks the lookupd which channels a new topic has before its first message.

It dials the broadcast_address and http_port of the IDENTIFY answer for
`GET /channels?topic=`. A channel missing there would not get the messages
published before its first consumer came to that nsqd.
"""

from checks.discovery import ports, publish
from fleet import command, eventually, expect

# More than one, so that a registration that is late now and then is seen.
TOPICS = 20
CHANNELS = {"billing", "mail"}


def run(fleet, check, clients):
    lookupd = fleet.lookupd()
    first, late = fleet.nsqd("nsqd-first", lookupd), fleet.nsqd("nsqd-late", lookupd)
    topics = [f"orders-{n}" for n in range(TOPICS)]
    for topic in topics:
        for channel in CHANNELS:
            first.create_channel(topic, channel)
    command("POST", lookupd.http, "/channel/create", {"topic": "by-hand", "channel": "audit"})
    eventually("channels", lambda: lookupd.channels(topics[-1]), CHANNELS)

    with check(f"a channel that one nsqd registered exists on another's new topic ({TOPICS} topics)"):
        messages = {topic: publish([late], topic, "first") for topic in topics}
        for topic in topics:
            holds_all(late, topic, CHANNELS, messages[topic])

    with check("a channel created on the lookupd alone exists on a new topic"):
        holds_all(late, "by-hand", {"audit"}, publish([late], "by-hand", "first"))

    with check("a consumer that comes later gets every message of its channel"):
        topic = topics[0]
        eventually("producers", lambda: lookupd.producers(topic), ports([first, late]))
        consumer = fleet.consumer(clients[0], topic, "mail", [lookupd.http_address])
        eventually("messages", lambda: consumer.received(topic), messages[topic])
        expect("left in the other channel", late.stats()[topic]["billing"], len(messages[topic]))


def holds_all(nsqd, topic, channels, messages):
    """Every channel is there and holds every message.

    The channels must be there at once; the messages reach them by nsqd's own pump.
    """
    expect(f"channels of {topic}", set(nsqd.stats()[topic]), channels)
    wanted = dict.fromkeys(channels, len(messages))
    eventually(f"messages per channel of {topic}", lambda: nsqd.stats()[topic], wanted)
