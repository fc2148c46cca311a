"""pynsq: prints every message of a topic; TOPIC CHANNEL LOOKUPD..."""

import sys

import nsq


def show(message):
    print(message.body.decode(), flush=True)
    return True


topic, channel, *lookupds = sys.argv[1:]
nsq.Reader(
    topic=topic,
    channel=channel,
    message_handler=show,
    lookupd_http_addresses=[f"http://{address}" for address in lookupds],
    lookupd_poll_interval=1,
    max_in_flight=10,
)
nsq.run()
