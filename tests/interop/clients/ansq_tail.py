"""ansq: prints every message of a topic; TOPIC CHANNEL LOOKUPD..."""

import asyncio
import sys

import ansq


async def main(topic, channel, *lookupds):
    reader = await ansq.create_reader(
        topic=topic,
        channel=channel,
        lookupd_http_addresses=lookupds,
        lookupd_poll_interval=1000,
    )
    async for message in reader.messages():
        print(message.body.decode(), flush=True)
        await message.fin()


asyncio.run(main(*sys.argv[1:]))
