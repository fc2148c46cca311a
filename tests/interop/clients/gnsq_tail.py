"""gnsq: prints every message of a topic; TOPIC CHANNEL LOOKUPD..."""

import sys

import gnsq


def show(_consumer, message):
    print(message.body.decode(), flush=True)


topic, channel, *lookupds = sys.argv[1:]
gnsq.Consumer(
    topic,
    channel,
    lookupd_http_addresses=lookupds,
    message_handler=show,
    lookupd_poll_interval=1,
    max_in_flight=10,
).start()
