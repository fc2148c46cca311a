"""A lookupd whose GETs need a token or an address: who still gets on with it.

go-nsq sends `Authorization: Bearer` to the lookupd when `auth_secret` is set
(`lookupd_authorization`, which is on); nsqd and nsqadmin send nothing.
"""

from checks.discovery import ports, publish
from clients import Client, nsq_tail
from fleet import HOST, command, eventually, expect, get_json, request

SECRET = "s3cret"
CHANNEL = "work"


def run(fleet, check, _clients):
    rule = f"--http-read-token-file={fleet.file('token', SECRET)}"
    lookupd = fleet.lookupd("lookupd", [rule], SECRET)
    nsqd = fleet.nsqd("nsqd", lookupd)

    def consumer(secret):
        client = Client("nsq_tail", "go", nsq_tail(f"auth_secret,{secret}"))
        return fleet.consumer(client, "orders", CHANNEL, [lookupd.http_address])

    with check("a GET without the token gets 403, /ping and /livez do not"):
        expect("status of /nodes", request("GET", lookupd.http, "/nodes")[0], 403)
        for probe in ("/ping", "/livez"):
            expect(probe, request("GET", lookupd.http, probe), (200, b"OK"))

    with check("an nsqd without a token creates a new topic's channels before its first message"):
        command("POST", lookupd.http, "/channel/create", {"topic": "orders", "channel": CHANNEL})
        messages = publish([nsqd], "orders", "first")
        expect("channels", set(nsqd.stats()["orders"]), {CHANNEL})
        eventually("producers", lambda: lookupd.producers("orders"), ports([nsqd]))

    without = consumer("wrong")
    with check("go-nsq with another auth_secret finds no nsqd", without):
        eventually("its queries are refused", lambda: refused(without), True)
        expect("messages", without.received("orders"), set())

    with_secret = consumer(SECRET)
    with check("go-nsq with auth_secret finds its nsqd and gets its messages", with_secret):
        eventually("messages", lambda: with_secret.received("orders"), messages)

    with check("nsqadmin shows nothing by a token, and everything from an address that is let in"):
        admin = fleet.nsqadmin(lookupd)
        expect("status", request("GET", admin.http, "/api/nodes")[0], 502)
        listed = fleet.lookupd("lookupd-list", [f"--http-read-allow={HOST}"])
        nodes = get_json(fleet.nsqadmin(listed).http, "/api/nodes")
        expect("nodes and message", (nodes["nodes"] or [], nodes["message"]), ([], ""))


def refused(consumer):
    """Whether the log of a go-nsq program says that its lookupd answered 403."""
    return any("403" in line for line in consumer.log_tail())
