"""asyncnsq: prints every message of a topic; TOPIC CHANNEL LOOKUPD..."""

import asyncio
import sys

import asyncnsq


async def main(topic, channel, *lookupds):
    addresses = [(host, int(port)) for host, port in (address.split(":") for address in lookupds)]
    reader = await asyncnsq.create_reader(lookupd_http_addresses=addresses, max_in_flight=10)
    await reader.subscribe(topic, channel)
    async for message in reader.messages():
        print(message.body.decode(), flush=True)
        await message.fin()


asyncio.run(main(*sys.argv[1:]))
