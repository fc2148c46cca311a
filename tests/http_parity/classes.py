"""Why musterd answers some odd requests otherwise than nsqlookupd: the first class that fits.

Must not: be a heading for whatever differs. A class says what the request has and what both made of
it; its reason and its count stand in tests/musterd/http_parity.rs.
"""

import re


def codes(seen):
    return [answer["status"].split(" ")[1] for answer in seen["got"]]


def fields(seen):
    return [answer["headers"] for answer in seen["got"]]


def without_head(request, theirs, ours):
    """`ours`, with what a HEAD, and its name in `Allow`, changes put back to `theirs`."""

    def put_back(got, went):
        codes = got["status"].split(" ")[1], went["status"].split(" ")[1]
        is_get = got["body"] == "" and codes in (("200", "405"), ("400", "405"), ("404", "405"))
        if b"HEAD " in request and (is_get or codes == ("301", "404")):
            return went
        headers = [[name, value.replace("GET, HEAD, OPTIONS", "GET, OPTIONS")] for name, value in got["headers"]]
        return {**got, "headers": headers}

    def answers(key):
        return [put_back(*pair) for pair in zip(ours[key], theirs[key])] + ours[key][len(theirs[key]) :]

    return {**ours, "got": answers("got"), "after": answers("after")}


def of(name, request, theirs, ours):
    ours = without_head(request, theirs, ours)
    if ours == theirs:
        return "head"
    head = re.split(rb"\n\r?\n", request, maxsplit=1)[0]
    refused = codes(ours)[-1:] == ["400"] and ours["end"] == "closed"
    if re.search(rb"\n[ \t]", head) and refused:
        return "folded"
    if codes(ours)[-1:] in (["413"], ["414"], ["431"]):
        return "limits"
    if re.search(rb"(?i)HTTP/1\.0\r\n(.*\n)*transfer-encoding", head) and ours["end"] == "closed":
        return "http10-encoding"
    both = re.search(rb"(?i)\ncontent-length:", head) and re.search(rb"(?i)\ntransfer-encoding:", head)
    if both and codes(ours) == codes(theirs)[:1] and ours["end"] == "closed":
        return "length-and-encoding"
    if re.search(rb"(?i)\ncontent-length:[ \t]*\r*(\n|$)", head) and refused:
        return "empty-length"
    # At once, or with the request that follows.
    closes = ours["end"] == "closed" or len(ours["after"]) < len(theirs["after"])
    if b"chunked" in head and closes and re.search(rb"(^|\n)0\r\n(?!\r\n)", request):
        return "trailer"
    if len(request) > 1 << 18 and theirs["end"] == "closed" and codes(theirs) == ["200"]:
        return "unread-body"
    if codes(theirs) == ["400"] and theirs["end"] == "closed" and (codes(ours), ours["end"]) == ([], "open"):
        return "whole-head" if ours["after"] == theirs["got"] else None
    both_refuse = codes(ours) == ["400"] and codes(theirs) in (["400"], ["501"], ["505"])
    if both_refuse and theirs["end"] == ours["end"] == "closed" and fields(theirs) == fields(ours):
        return "words"
    closing = [["Connection", "close"]]
    if codes(theirs) == codes(ours) and ours["end"] == "closed" and fields(ours)[-1] == fields(theirs)[-1] + closing:
        return "close-said"
    return None
