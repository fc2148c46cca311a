"""nsqadmin, through its own HTTP API: lists, creates, deletes, tombstones.

Each effect is verified on the lookupd, not in nsqadmin's answer.
"""

import http.client

from fleet import HOST, command, eventually, expect, get_json, request

# More than musterd lists at once (`SMALL_REGISTRY`).
MANY = 5000


def run(fleet, check, _clients):
    lookupd = fleet.lookupd()
    a, b = nsqds = [fleet.nsqd("nsqd-a", lookupd), fleet.nsqd("nsqd-b", lookupd)]
    admin = fleet.nsqadmin(lookupd)
    for nsqd in nsqds:
        for channel in ("billing", "mail"):
            nsqd.create_channel("orders", channel)
    on_both = {a.tcp: {"orders": False}, b.tcp: {"orders": False}}
    eventually("nodes of orders", lookupd.nodes, on_both)

    with check("nsqadmin lists topics, their channels and the nodes"):
        listing(admin, nsqds)
    with check("nsqadmin creates a topic and a channel"):
        creating(admin, lookupd)
    with check("nsqadmin deletes a channel, on the lookupd and on both nsqds"):
        deleting_a_channel(admin, lookupd, nsqds)
    with check("nsqadmin tombstones a silent node: /lookup leaves it out, /nodes marks it"):
        tombstoning_a_silent_node(admin, lookupd, a, b)
    with check("nsqadmin tombstones a node: it leaves the topic"):
        tombstoning_a_node(admin, lookupd, a, b)
    with check("nsqadmin deletes a topic, on the lookupd and on the nsqd that has it"):
        deleting_a_topic(admin, lookupd, b)
    with check(f"nsqadmin lists {MANY} topics, and the nodes beside them, from answers in chunks"):
        listing_many(admin, lookupd, nsqds)


def listing(admin, nsqds):
    ports = {nsqd.tcp for nsqd in nsqds}
    addresses = {nsqd.http_address for nsqd in nsqds}
    expect("/api/topics", get_json(admin.http, "/api/topics"), {"topics": ["orders"], "message": ""})

    topic = get_json(admin.http, "/api/topics/orders")
    expect("nodes of the topic", {n["node"] for n in topic["nodes"]}, addresses)
    expect("its channels", {c["channel_name"] for c in topic["channels"]}, {"billing", "mail"})

    channel = get_json(admin.http, "/api/topics/orders/mail")
    expect("nodes of the channel", {n["node"] for n in channel["nodes"]}, addresses)

    nodes = get_json(admin.http, "/api/nodes")
    expect("message of /api/nodes", nodes["message"], "")
    expect("ports of the nodes", {n["tcp_port"] for n in nodes["nodes"]}, ports)
    for node in nodes["nodes"]:
        expect("address of a node", node["broadcast_address"], HOST)
        expect("topics of a node", node["topics"], [{"topic": "orders", "tombstoned": False}])
        expect("version of a node", (node["version"], node["out_of_date"]), ("1.3.0", False))


def creating(admin, lookupd):
    command("POST", admin.http, "/api/topics", document={"topic": "returns", "channel": "audit"})
    expect("topics", lookupd.topics(), {"orders", "returns"})
    expect("channels", lookupd.channels("returns"), {"audit"})
    inactive = get_json(admin.http, "/api/topics", {"inactive": "true"})
    expect("topics without a producer", inactive["topics"], {"returns": ["audit"]})


def deleting_a_channel(admin, lookupd, nsqds):
    command("DELETE", admin.http, "/api/topics/orders/billing")
    eventually("channels", lambda: lookupd.channels("orders"), {"mail"})
    for nsqd in nsqds:
        expect(f"channels on {nsqd.name}", set(nsqd.stats()["orders"]), {"mail"})


def tombstoning_a_silent_node(admin, lookupd, silent, other):
    # nsqadmin marks the node on the lookupd and then deletes the topic on the
    # node itself. A stopped nsqd does not answer that (502), so the mark stays.
    silent.pause()
    try:
        body = '{"topic": "orders"}'
        status, _ = request("DELETE", admin.http, f"/api/nodes/{silent.http_address}", body=body)
        expect("status", status, 502)
        expect("producers", lookupd.producers("orders"), {other.tcp})
        expect("nodes", lookupd.nodes(), {silent.tcp: {"orders": True}, other.tcp: {"orders": False}})
        shown = {n["tcp_port"]: n["topics"] for n in get_json(admin.http, "/api/nodes")["nodes"]}
        expect("mark in nsqadmin", shown[silent.tcp], [{"topic": "orders", "tombstoned": True}])
    finally:
        silent.resume()


def tombstoning_a_node(admin, lookupd, node, other):
    document = {"topic": "orders"}
    command("DELETE", admin.http, f"/api/nodes/{node.http_address}", document=document)
    eventually("nodes", lookupd.nodes, {node.tcp: {}, other.tcp: {"orders": False}})
    expect("producers", lookupd.producers("orders"), {other.tcp})
    expect("topics on the node", node.stats(), {})


def deleting_a_topic(admin, lookupd, nsqd):
    command("DELETE", admin.http, "/api/topics/orders")
    eventually("topics", lookupd.topics, {"returns"})
    eventually("topics of the node", lambda: lookupd.nodes()[nsqd.tcp], {})
    expect("channels", lookupd.channels("orders"), set())
    expect("topics on the nsqd", nsqd.stats(), {})


def listing_many(admin, lookupd, nsqds):
    names = {f"many-{number}" for number in range(MANY)}
    connection = http.client.HTTPConnection(HOST, lookupd.http)
    for name in names:
        connection.request("POST", f"/topic/create?topic={name}")
        answer = connection.getresponse()
        answer.read()
        expect("status", answer.status, 200)
    before = lookupd.topics() - names
    connection.request("GET", "/topics")
    answer = connection.getresponse()
    answer.read()
    expect("encoding of /topics", answer.getheader("Transfer-Encoding"), "chunked")
    connection.close()
    seen = get_json(admin.http, "/api/topics")
    expect("topics", (set(seen["topics"]), seen["message"]), (names | before, ""))
    nsqds[0].create_channel("many-7", "mail")
    topics = {nsqd.tcp: [] for nsqd in nsqds} | {nsqds[0].tcp: [{"topic": "many-7", "tombstoned": False}]}
    nodes = lambda: {n["tcp_port"]: n["topics"] or [] for n in get_json(admin.http, "/api/nodes")["nodes"]}
    eventually("nodes and their topics", nodes, topics)
