"""Unusual HTTP requests by structure: what a client, a proxy or an attacker might send to the HTTP port.

Must not: depend on random numbers, on time or on a server; two runs give the same list. `@T` in a request
becomes a topic of its own, so that what a request changes shows in the list of topics at the end.
"""

from itertools import product

HOST = b"Host: x\r\n"
#: Bytes worth trying wherever a byte may stand: controls, punctuation, some of the rest.
BYTES = [
    *(0, 1, 8, 9, 10, 11, 12, 13, 27, 31),
    *(byte for byte in range(32, 127) if not chr(byte).isalnum()),
    *b"0aZ",
    *(127, 128, 133, 160, 233, 255),
]
CREATE = b"POST /topic/create?topic=@T HTTP/1.1\r\nHost: x\r\n"
NEXT = b"GET /nodes HTTP/1.1\r\nHost: x\r\n\r\n"


def get(target=b"/ping", version=b"HTTP/1.1", fields=HOST):
    return b"GET " + target + b" " + version + b"\r\n" + fields + b"\r\n"


def methods():
    names = (
        "GET POST PUT DELETE PATCH HEAD OPTIONS TRACE CONNECT PROPFIND M-SEARCH PRI BREW get Get gET post "
        "GETT GE G HEADER X-Y_Z 1 0 %47ET"
    ).split()
    targets = (b"/ping", b"/topic/create?topic=@T", b"/nope", b"*", b"/PING/", b"/lookup?topic=none")
    for name, target in product(names, targets):
        yield f"{name} {target.decode()}", name.encode() + b" " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    for byte in BYTES:
        yield f"byte {byte:#04x}", b"G" + bytes([byte]) + b"T /ping HTTP/1.1\r\n" + HOST + b"\r\n"
    yield "none", b" /ping HTTP/1.1\r\n" + HOST + b"\r\n"
    yield "none, no space", b"/ping HTTP/1.1\r\n" + HOST + b"\r\n"
    yield "HEAD of an error", b"HEAD /lookup HTTP/1.1\r\n" + HOST + b"\r\n"
    yield "long", b"A" * 300 + b" /ping HTTP/1.1\r\n" + HOST + b"\r\n"


def spaces():
    for name, line in {
        "two before the target": b"GET  /ping HTTP/1.1",
        "two behind the target": b"GET /ping  HTTP/1.1",
        "tab before the target": b"GET\t/ping HTTP/1.1",
        "tab behind the target": b"GET /ping\tHTTP/1.1",
        "at the end": b"GET /ping HTTP/1.1 ",
        "tab at the end": b"GET /ping HTTP/1.1\t",
        "in front": b" GET /ping HTTP/1.1",
        "tab in front": b"\tGET /ping HTTP/1.1",
        "in the target": b"GET /pi ng HTTP/1.1",
        "in the query": b"GET /lookup?topic=a b HTTP/1.1",
        "no-break": b"GET\xa0/ping\xa0HTTP/1.1",
        "no version": b"GET /ping",
        "no version, a space": b"GET /ping ",
        "no target": b"GET HTTP/1.1",
        "no target, two spaces": b"GET  HTTP/1.1",
        "method only": b"GET",
        "method and a space": b"GET ",
        "a fourth word": b"GET /ping HTTP/1.1 HTTP/1.1",
        "nothing": b"",
        "a space": b" ",
        "a status line": b"HTTP/1.1 200 OK",
    }.items():
        yield name, line + b"\r\n" + HOST + b"\r\n"


def targets():
    forms = [
        "/ping/ //ping ///ping /ping// /./ping /ping/. /../ping /ping/.. /a/../ping /a/b/../../ping /ping/../ping "
        "/PING /Ping /pIng/ //PING// /ping/x /pin /pingg / // /// /. /.. /./ /../ . .. ./ping ../ping ping ?topic=a "
        "#ping /ping#a /ping#a?b /ping?#a /#/ping /ping;a /ping;a=b /ping,a /ping: /ping@x /:ping /ping& /ping= "
        "* ** /* *?a *#a */ping /*/ping http://x/ping http://x http://x/ http://x?topic=a http://x/ping?a "
        "http://x:4161/ping http://x:/ping http://x:99999/ping http://x:-1/ping http://x:a/ping http://:80/ping http:///ping http:/ping "
        "http:ping http:// HTTP://X/ping hTTp://x/ping https://x/ping ftp://x/ping ws://x/ping x://x/ping 1://x/ping "
        "h-t+t.p://x/ping h_t://x/ping ://x/ping //x/ping //x http://u@x/ping http://u:p@x/ping http://u:p:q@x/ping "
        "http://@x/ping http://u@/ping http://u@v@x/ping http://[::1]/ping http://[::1]:80/ping http://[::1/ping "
        "http://::1/ping http://[::1%25eth0]/ping http://[::1%eth0]/ping http://[1.2.3.4]/ping http://[]/ping "
        "http://[::1]x/ping http://[v1.x]/ping http://[::ffff:1.2.3.4]/ping http://127.1/ping http://0x7f.1/ping "
        "http://x%41/ping http://x%20/ping http://x%C3%A9/ping http://x%25/ping http://x%/ping http://x%zz/ping "
        "http://a..b/ping http://-/ping http://_/ping http://x,y/ping http://x;y/ping http://x'y/ping http://x\"y/ping "
        "http://x<y/ping http://x\\y/ping http://x^y/ping http://x|y/ping http://x`y/ping http://x{y}/ping http://x#/ping "
        "http://x/PING http://x//ping http://x/ping/ https://x/PING?a http://u@x:1/PING?a#b HTTP://X/PING mailto:x "
        "urn:a:b data:,x file:///ping javascript:alert(1) about:blank x:80 127.0.0.1:4161 "
        "[::1]:80 localhost:80/ping x",
        "%70ing /%70ing /%50ING /p%69ng /ping%2f /ping%2F /%2fping %2fping %2Fping /%2e/ping /%2e%2e/ping /ping%00 /ping%0a "
        "/ping%0d%0a /ping%20 /ping%09 /ping%7f /ping%ff /ping%C3%A9 /ping%3f /ping%3Fa /ping%23 /ping%25 /ping%2570 "
        "/% /%4 /%zz /%4z /%z4 /ping% /ping%2 /%%70ing /%u0070ing /ping%c0%af /%c0%ae/ping /topic%2Fcreate /topic/%63reate "
        "/TOPIC%2fCREATE /a%2f..%2fping /a/%2e%2e/ping /.%2e/ping /+ping /pi+ng /~ping /pi%2bng /ping! /ping$ /ping' /ping( /ping) "
        "/lookup/ /LOOKUP?topic=none /Lookup/?topic=a&b=c /lookup?Topic=none //lookup?topic=<x> /LOOKUP?topic=%3Cx%3E&y=\"'",
    ]
    for form in " ".join(forms).split():
        yield form, get(form.encode())
    for byte in BYTES:
        yield f"byte {byte:#04x} in the path", get(b"/pi" + bytes([byte]) + b"ng")
        yield f"byte {byte:#04x} before a moved path", get(b"/LOOKUP?topic=a" + bytes([byte]) + b"b")
    for form in ("/ping", "x:80", "x", "*", "http://x/ping", "x:80/ping", "[::1]:1", "u@x:1", "x:y", "", "/PING", "x?y", "/topic/create"):
        yield f"CONNECT {form}", b"CONNECT " + form.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    for form in ("*", "/", "/ping", "*?a", "http://x", "http://x/ping", "/debug/pprof/symbol", "/topic/create", "/nope", "/PING", "**", "*/"):
        yield f"OPTIONS {form}", b"OPTIONS " + form.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    for form in ("/topic//create?topic=@T", "/TOPIC/create?topic=@T", "/topic/create/?topic=@T", "http://x/topic/create?topic=@T",
                 "http://x/TOPIC/create?topic=@T", "/topic/./create?topic=@T", "/topic/create%2f?topic=@T", "/x/../topic/create?topic=@T"):
        yield f"POST {form}", b"POST " + form.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n"


def queries():
    lookup = (
        "? ?topic ?topic= ?topic=none ?topic=none& ?&topic=none ?&&topic=none&& ?topic=none&topic=other ?topic=&topic=none "
        "?TOPIC=none ?topic==none ?=none ?topic=none=x ?topic=none;a ?topic=none;a=b ?;topic=none ?topic=none&; ?a=;&topic=none "
        "?topic=no%6ee ?%74opic=none ?to%70ic=none ?topic%3Dnone ?topic=% ?topic=%4 ?topic=%zz ?%zz=a&topic=none ?topic=none&x=%zz "
        "?topic=%00 ?topic=%ff ?topic=%0a ?topic=a+b ?topic=+ ?topic=%20 ?topic=%2b ?top+ic=a ?topic+=a ?topic=a%26topic=b "
        "?topic=\xe9 ?topic=%C3%A9 ?topic[]=none ?topic[0]=none ?topic=* ?topic=** ?topic=*&topic=none ?topic=%2a ?topic=none#x "
        "?topic=none?x ??topic=none ?topic=none?topic=x ?topic=none/ ?topic=../ ?topic=none%23ephemeral ?topic=none#ephemeral "
        "?topic=.none ?topic=-_- ?topic=" + "n" * 64 + " ?topic=" + "n" * 65 + " ?topic=none&channel= ?x ?x=1&y=2 ?%"
    )
    for query, route in product(lookup.split(), ("/lookup", "/channels")):
        yield f"{route}{query}"[:60], get((route + query).encode("latin-1"))
    change = (
        "?topic=@T ?topic=@T&topic=x?y ?topic=%40T ?topic=@T%23ephemeral ?topic=@T#ephemeral ?topic= ?topic ?channel=c ?topic=a%20b ?topic=a+b ?topic=@T;x "
        "?topic=@T&x=% ?topic=" + "n" * 65 + " ?topic=%ff ?topic=*x ?topic=a/b ?topic=a%2fb ?topic=a$b"
    )
    for query in change.split():
        yield f"create {query}"[:60], b"POST /topic/create" + query.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    for query in ("?topic=@T&channel=c", "?topic=@T&channel=", "?topic=@T", "?topic=@T&channel=c%23ephemeral", "?topic=a%20b&channel=c",
                  "?topic=@T&channel=c%20d", "?channel=c&topic=@T", "?topic=@T&channel=c&channel=d%20", "?channel=c", ""):
        for verb in ("create", "delete"):
            yield f"channel {verb} {query}", f"POST /channel/{verb}{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for query in ("?topic=none", "?topic=none&node=", "?topic=none&node=a:1", "?node=a:1", "?topic=&node=", "?topic=none&node=%ff", "?topic=none&node=%"):
        yield f"tombstone {query}", f"POST /topic/tombstone{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for query in ("?topic=none", "?topic=", "?topic=%", "?topic=a%20b", "?Topic=a", ""):
        yield f"delete {query}", f"POST /topic/delete{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for byte in BYTES:
        yield f"byte {byte:#04x}", get(b"/lookup?topic=none" + bytes([byte]))
    yield "form body is no query", CREATE.replace(b"?topic=@T", b"") + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 8\r\n\r\ntopic=@T"


def versions():
    words = (
        "HTTP/1.1 HTTP/1.0 HTTP/0.9 HTTP/1.2 HTTP/1.9 HTTP/2.0 HTTP/2 HTTP/3.0 HTTP/9.9 HTTP/0.0 HTTP/1 HTTP/1. HTTP/.1 HTTP/11 "
        "HTTP/1.10 HTTP/01.1 HTTP/1.01 HTTP/10.1 HTTP/1,1 HTTP/1.1.1 HTTP/-1.1 HTTP/+1.1 HTTP/a.b HTTP/1.a http/1.1 Http/1.1 HTTp/1.1 "
        "HTTP HTTP/ HTTP1.1 HTTPS/1.1 HTCPCP/1.0 XHTTP/1.1 ICY SIP/2.0 RTSP/1.0 HTTP/1.1x HTTP/1.1\0 HTTP/\u0661.1 1.1 /1.1"
    ).split(" ")
    for word, host in product(words, (HOST, b"")):
        yield f"{word!r} {'with' if host else 'without'} a host", get(version=word.encode(), fields=host)
    for byte in BYTES:
        yield f"byte {byte:#04x}", get(version=b"HTTP/1" + bytes([byte]) + b"1")
    yield "HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
    yield "HTTP/2 preface with a host", b"PRI * HTTP/2.0\r\nHost: x\r\n\r\n"
    yield "HTTP/0.9, a line", b"GET /ping\r\n"
    yield "HTTP/0.9, bare", b"GET /ping\n"
    yield "TLS", bytes.fromhex("16030100 2e0100002a0303") + b"\0" * 40 + b"\n"
    yield "h2c upgrade", get(fields=HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n")
    yield "websocket upgrade", get(fields=HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n")
    yield "SSH", b"SSH-2.0-OpenSSH_9.6\r\n"
    yield "SMTP", b"EHLO x\r\n"
    yield "proxy v1", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + get()
    yield "nsqd", b"  V1PING\n"


def hosts():
    values = (
        "x x:80 x:0 x:99999 x: :80 : [::1] [::1]:80 [::1 ::1 [] 127.0.0.1 127.0.0.1:4161 localhost a.b.c. .a a..b -a a_b a%20b a%41 "
        "%zz x/y x?y x#y x@y u:p@x http://x x,y x;y x&y x=y x+y x!y x*y x$y x'y x(y) x~y x|y x^y x`y x\\y x{y} x<y> x\"y \"x\" * / ? #"
    ).split()
    for value in values:
        yield value, get(fields=b"Host: " + value.encode() + b"\r\n")
    for byte in BYTES:
        yield f"byte {byte:#04x}", get(fields=b"Host: a" + bytes([byte]) + b"b\r\n")
    for name, fields in {
        "none": b"",
        "none, other fields": b"Accept: */*\r\n",
        "empty": b"Host:\r\n",
        "spaces": b"Host:   \r\n",
        "no space": b"Host:x\r\n",
        "tabs": b"Host:\tx\t\r\n",
        "padded": b"Host:   x   \r\n",
        "two words": b"Host: x y\r\n",
        "twice the same": b"Host: x\r\nHost: x\r\n",
        "twice": b"Host: x\r\nHost: y\r\n",
        "twice, one empty": b"Host: x\r\nHost:\r\n",
        "twice, apart, in another case": b"Host: x\r\nA: b\r\nhOST: y\r\n",
        "thrice": b"Host: x\r\n" * 3,
        "lower case": b"host: x\r\n",
        "upper case": b"HOST: x\r\n",
        "space before the colon": b"Host : x\r\n",
        "tab before the colon": b"Host\t: x\r\n",
        "folded": b"Host:\r\n x\r\n",
        "folded twice": b"Host: x\r\n y\r\n",
        "behind a space": b" Host: x\r\n",
        "X-Forwarded-Host": b"X-Forwarded-Host: x\r\n",
        "Host without colon": b"Host x\r\n",
        "long": b"Host: " + b"a" * 1000 + b"\r\n",
    }.items():
        yield name, get(fields=fields)
        yield f"{name}, absolute target", get(b"http://y/ping", fields=fields)
        yield f"{name}, HTTP/1.0", get(version=b"HTTP/1.0", fields=fields)


def fields():
    for byte in BYTES:
        yield f"byte {byte:#04x} in a name", get(fields=HOST + b"A" + bytes([byte]) + b"B: c\r\n")
        yield f"byte {byte:#04x} in a value", get(fields=HOST + b"A: b" + bytes([byte]) + b"c\r\n")
        yield f"byte {byte:#04x} first", get(fields=HOST + bytes([byte]) + b"A: b\r\n")
    for byte in (9, 32, 0x0B, 0x0C, 0x0D, 0, 0xA0):
        yield f"byte {byte:#04x} before the colon", get(fields=HOST + b"A" + bytes([byte]) + b": b\r\n")
        yield f"byte {byte:#04x} behind the colon", get(fields=HOST + b"A:" + bytes([byte]) + b"b\r\n")
        yield f"byte {byte:#04x} behind the value", get(fields=HOST + b"A: b" + bytes([byte]) + b"\r\n")
        yield f"byte {byte:#04x} on a line of its own", get(fields=HOST + b"A: b\r\n" + bytes([byte]) + b"\r\nC: d\r\n")
        yield f"byte {byte:#04x} first of the first", get(fields=bytes([byte]) + b"A: b\r\n" + HOST)
    for name, some in {
        "no colon": b"A\r\n",
        "no name": b": b\r\n",
        "no value": b"A:\r\n",
        "colons": b"A:::b:c\r\n",
        "folded by a space": b"A: b\r\n c\r\n",
        "folded by a tab": b"A: b\r\n\tc\r\n",
        "folded by much": b"A: b\r\n \t \tc\r\n",
        "folded to nothing": b"A: b\r\n \r\n",
        "folded to a field": b"A: b\r\n C: d\r\n",
        "folded twice": b"A: b\r\n c\r\n d\r\n",
        "folded from nothing": b"A:\r\n b\r\n",
        "folded, bare": b"A: b\n c\r\n",
        "a hundred": b"A: b\r\n" * 98,
        "the same one twice": b"A: b\r\nA: c\r\n",
        "a comment": b"A: (b)\r\n",
        "a quote": b'A: "b\r\n',
        "quoted name": b'"A": b\r\n',
        "UTF-8 name": "\u00e9: b\r\n".encode(),
        "UTF-8 value": "A: \u00e9\r\n".encode(),
        "BOM": b"\xef\xbb\xbfA: b\r\n",
        "a request line": b"GET /ping HTTP/1.1\r\n",
        "long name": b"A" * 3000 + b": b\r\n",
        "long value": b"A: " + b"b" * 3000 + b"\r\n",
        "Range": b"Range: bytes=0-0\r\n",
        "If-None-Match": b"If-None-Match: *\r\n",
        "If-Modified-Since": b"If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT\r\n",
        "Accept-Encoding": b"Accept-Encoding: gzip, br, zstd\r\n",
        "Accept": b"Accept: application/vnd.nsq; version=1.0\r\n",
        "Accept none": b"Accept: nothing/*;q=0\r\n",
        "Authorization": b"Authorization: Basic !!!\r\n",
        "Cookie": b"Cookie: a=b; c=\x01\r\n",
        "Upgrade alone": b"Upgrade: h2c\r\n",
        "X-HTTP-Method-Override": b"X-HTTP-Method-Override: POST\r\n",
        "Origin": b"Origin: null\r\n",
        "Max-Forwards": b"Max-Forwards: 0\r\n",
        "Trailer": b"Trailer: A\r\n",
        "TE": b"TE: trailers\r\n",
        "TE not trailers": b"TE: gzip\r\n",
        "pseudo": b":method: POST\r\n",
    }.items():
        yield name, get(fields=HOST + some)


def ends():
    marks = {"CRLF": b"\r\n", "LF": b"\n", "CR": b"\r", "CRCRLF": b"\r\r\n", "LFCR": b"\n\r"}
    for (a, one), (b, two), (c, three) in product(marks.items(), repeat=3):
        yield f"{a}, {b}, {c}", b"GET /ping HTTP/1.1" + one + b"Host: x" + two + three
    for name, some in {"CRLF": b"\r\n", "LF": b"\n", "CR": b"\r", "two CRLF": b"\r\n\r\n", "nine CRLF": b"\r\n" * 9, "NUL": b"\0",
                       "space": b" ", "space CRLF": b" \r\n", "tab": b"\t"}.items():
        yield f"{name} in front", some + get()
        yield f"{name} between two GETs", get() + some + get(b"/nodes")
        yield f"{name} behind a POST", CREATE + b"Content-Length: 1\r\n\r\na" + some + get(b"/nodes")
        yield f"{name} behind a POST without a body", CREATE + b"\r\n" + some + get(b"/nodes")
    for count in (1, 2, 3, 4, 5, 6):
        yield f"{count} LF behind a POST", CREATE + b"Content-Length: 1\r\n\r\na" + b"\n" * count + get(b"/nodes")
    for line in (b"A: b\r\r\n", b"A: b\rC: d\r\n", b"A: b\nC: d\r\n", b"A: b\n\rC: d\r\n", b"A: b\r \nC: d\r\n", b"A:\rb\r\n", b"A\r: b\r\n", b"\rA: b\r\n",
                 b"A: b\0\r\n", b"A: b\r\n\0\r\n", b"A: b\x0bC: d\r\n", b"A: b\x85C: d\r\n", b"A: b\xe2\x80\xa8C: d\r\n"):
        yield f"{line!r}", get(fields=HOST + line)


def lengths():
    values = (
        b"0", b"5", b"05", b"0005", b"+5", b"-5", b"-0", b"+0", b"5 ", b"  5", b"\t5\t", b"5,5", b"5, 5", b"5,6", b",5", b"5,", b"5;5", b"5 5", b"5.0",
        b"0x5", b"5e0", b"1_0", b"five", b"", b" ", b"5\0", b"\x005", b"5\x0b", b"5\r", b"\r5", b"\xb2", b"\xd9\xa5", b"9223372036854775807",
        b"9223372036854775808", b"18446744073709551616", b"99999999999999999999999", b"-9223372036854775808", b"NaN", b"5a", b"'5'", b"\"5\"", b"5#", b"0" * 40 + b"5",
    )
    for value in values:
        yield f"POST {value!r}", CREATE + b"Content-Length: " + value + b"\r\n\r\nabcde" + NEXT
        yield f"GET {value!r}", get(fields=HOST + b"Content-Length: " + value + b"\r\n") + b"abcde" + NEXT
    for name, some in {
        "the same twice": b"Content-Length: 5\r\nContent-Length: 5\r\n",
        "twice": b"Content-Length: 5\r\nContent-Length: 6\r\n",
        "twice, less first": b"Content-Length: 0\r\nContent-Length: 5\r\n",
        "the same thrice": b"Content-Length: 5\r\n" * 3,
        "the same, padded": b"Content-Length: 5\r\nContent-Length:  5 \r\n",
        "the same, zeros": b"Content-Length: 5\r\nContent-Length: 05\r\n",
        "once empty": b"Content-Length: 5\r\nContent-Length:\r\n",
        "first empty": b"Content-Length:\r\nContent-Length: 5\r\n",
        "both empty": b"Content-Length:\r\nContent-Length:\r\n",
        "twice wrong": b"Content-Length: x\r\nContent-Length: x\r\n",
        "in other cases": b"content-length: 5\r\nCONTENT-LENGTH: 5\r\n",
        "space before the colon": b"Content-Length : 5\r\n",
        "tab before the colon": b"Content-Length\t: 5\r\n",
        "folded": b"Content-Length:\r\n 5\r\n",
        "folded behind": b"Content-Length: 5\r\n 5\r\n",
        "in a folded line": b"A: b\r\n Content-Length: 5\r\n",
        "underscore": b"Content_Length: 5\r\n",
        "two fields and a wrong one": b"Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 4\r\n",
        "bare line ends": b"Content-Length: 5\nA: b\n",
        "in a bare CR": b"A: b\rContent-Length: 5\r\n",
        "NUL in the name": b"Content-\0Length: 5\r\n",
    }.items():
        yield name, CREATE + some + b"\r\nabcde" + NEXT
        yield f"{name}, HTTP/1.0", b"POST /topic/create?topic=@T HTTP/1.0\r\nConnection: keep-alive\r\n" + some + b"\r\nabcde" + NEXT
    for method, target in product(("GET", "HEAD", "OPTIONS", "DELETE", "PUT", "CONNECT", "TRACE"), ("/ping", "/lookup?topic=none", "/nope")):
        yield f"{method} {target} with a body", f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde".encode() + NEXT
    for name, length, sent in (("1 MiB", 1 << 20, 1 << 20), ("over 1 MiB", (1 << 20) + 1, 0), ("256 KiB", 1 << 18, 1 << 18), ("over 256 KiB", (1 << 18) + 1, (1 << 18) + 1)):
        yield f"{name}, POST", CREATE + b"Content-Length: %d\r\n\r\n" % length + b"b" * sent + NEXT
        yield f"{name}, GET", get(fields=HOST + b"Content-Length: %d\r\n" % length) + b"b" * sent + NEXT


CHUNKED = b"5\r\nabcde\r\n0\r\n\r\n"


def encodings():
    values = (
        b"chunked", b"Chunked", b"CHUNKED", b" chunked", b"chunked ", b"\tchunked", b"chunked\t", b"\x0bchunked", b"chunked\x0b", b"chunked\x0c", b"chunked\0", b"chunked\r",
        b"chunked,", b",chunked", b"chunked, chunked", b"chunked,identity", b"identity", b"identity, chunked", b"gzip", b"gzip, chunked",
        b"chunked, gzip", b"deflate", b"x", b"xchunked", b"chunkedx", b"chunk", b"chunked;a=b", b"chunked a", b"\"chunked\"", b"'chunked'", b"", b" ", b"trailers",
        b"chunked\xa0", b"\xc2\xa0chunked", b"chun\xc4\xb7ed", b"c\r\n hunked", b"\r\n chunked", b"chunked\n", b"CHUN\xe2\x84\xaaED",
    )
    for value in values:
        field = b"Transfer-Encoding: " + value + b"\r\n"
        yield f"POST {value!r}", CREATE + field + b"\r\n" + CHUNKED + NEXT
        yield f"{value!r} and a length", CREATE + b"Content-Length: 5\r\n" + field + b"\r\n" + CHUNKED + NEXT
        yield f"HTTP/1.0 {value!r}", b"POST /topic/create?topic=@T HTTP/1.0\r\nConnection: keep-alive\r\n" + field + b"\r\n" + CHUNKED + NEXT
    te = b"Transfer-Encoding: chunked\r\n"
    for name, some in {
        "twice": te + te,
        "twice, one empty": te + b"Transfer-Encoding:\r\n",
        "empty, then chunked": b"Transfer-Encoding:\r\n" + te,
        "identity, then chunked": b"Transfer-Encoding: identity\r\n" + te,
        "chunked, then identity": te + b"Transfer-Encoding: identity\r\n",
        "length before": b"Content-Length: 5\r\n" + te,
        "length behind": te + b"Content-Length: 5\r\n",
        "length 0": b"Content-Length: 0\r\n" + te,
        "length of all": b"Content-Length: 15\r\n" + te,
        "length wrong": b"Content-Length: x\r\n" + te,
        "length negative": b"Content-Length: -1\r\n" + te,
        "length twice": b"Content-Length: 5\r\nContent-Length: 6\r\n" + te,
        "length twice the same": b"Content-Length: 5\r\nContent-Length: 5\r\n" + te,
        "length empty": b"Content-Length:\r\n" + te,
        "length too large": b"Content-Length: 99999999\r\n" + te,
        "space before the colon": b"Transfer-Encoding : chunked\r\n",
        "space before the colon, and a length": b"Content-Length: 5\r\nTransfer-Encoding : chunked\r\n",
        "tab before the colon, and a length": b"Content-Length: 5\r\nTransfer-Encoding\t: chunked\r\n",
        "in front of a space, and a length": b"Content-Length: 5\r\n Transfer-Encoding: chunked\r\n",
        "underscore, and a length": b"Content-Length: 5\r\nTransfer_Encoding: chunked\r\n",
        "in a bare CR, and a length": b"Content-Length: 5\r\nA: b\rTransfer-Encoding: chunked\r\n",
        "in a bare LF, and a length": b"Content-Length: 5\r\nA: b\nTransfer-Encoding: chunked\r\n",
        "NUL in the name, and a length": b"Content-Length: 5\r\nTransfer-\0Encoding: chunked\r\n",
        "lower case": te.lower(),
        "no space": b"Transfer-Encoding:chunked\r\n",
        "X-Transfer-Encoding": b"X-Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Encoding": b"Content-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Connection names it": b"Connection: Transfer-Encoding\r\n" + te,
        "Connection names the length": b"Connection: Content-Length\r\nContent-Length: 5\r\n",
        "trailer announced": b"Trailer: A\r\n" + te,
        "trailer announces a length": b"Trailer: Content-Length\r\n" + te,
        "trailer announces an encoding": b"Trailer: A, Transfer-Encoding\r\n" + te,
        "trailer announces a trailer": b"Trailer: trailer\r\n" + te,
        "trailer announces nothing": b"Trailer:\r\n" + te,
        "trailer announces odd names": b"Trailer: a b, :\r\n" + te,
    }.items():
        yield f"POST, {name}", CREATE + some + b"\r\n" + CHUNKED + NEXT
        yield f"GET, {name}", get(fields=HOST + some) + CHUNKED + NEXT
        yield f"POST, {name}, HTTP/1.0", b"POST /topic/create?topic=@T HTTP/1.0\r\nHost: x\r\n" + some + b"\r\n" + CHUNKED + NEXT
    smuggled = b"POST /topic/create?topic=@T-smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    for name, head, body in (
        ("CL.TE", b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % (5 + len(smuggled)), b"0\r\n\r\n" + smuggled),
        ("TE.CL", b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(smuggled), smuggled)),
        ("TE.TE", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", b"0\r\n\r\n" + smuggled),
        ("CL.0", b"Content-Length: %d\r\n" % len(smuggled), smuggled),
        ("0.CL", b"Content-Length: 0\r\n", smuggled),
        ("chunk extension", b"Transfer-Encoding: chunked\r\n", b"1;\n\r\na\r\n0\r\n\r\n" + smuggled),
        ("chunk data ends bare", b"Transfer-Encoding: chunked\r\n", b"1\r\na\n0\r\n\r\n" + smuggled),
        ("trailer", b"Transfer-Encoding: chunked\r\n", b"0\r\nContent-Length: 5\r\n\r\n" + smuggled),
        ("expect", b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(smuggled), smuggled),
        ("expect y", b"Expect: y 100-continue\r\nContent-Length: %d\r\n" % len(smuggled), smuggled),
        ("GET", b"Content-Length: %d\r\nConnection: Content-Length\r\n" % len(smuggled), smuggled),
        ("HTTP/1.0 TE", b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n", b"0\r\n\r\n" + smuggled),
    ):
        for method, target, version in ((b"POST", b"/topic/create?topic=@T", b"1.1"), (b"GET", b"/ping", b"1.1"), (b"GET", b"/nope", b"1.1"), (b"POST", b"/topic/create?topic=@T", b"1.0")):
            yield f"smuggling {name}, {method.decode()} {target.decode()}, {version.decode()}", method + b" " + target + b" HTTP/" + version + b"\r\nHost: x\r\n" + head + b"\r\n" + body


def chunks():
    bodies = (
        b"0\r\n\r\n", b"00000\r\n\r\n", b"5\r\nabcde\r\n0\r\n\r\n", b"05\r\nabcde\r\n0\r\n\r\n", b"A\r\n0123456789\r\n0\r\n\r\n", b"a\r\n0123456789\r\n0\r\n\r\n",
        b"5;a\r\nabcde\r\n0\r\n\r\n", b"5;a=b\r\nabcde\r\n0\r\n\r\n", b"5 ;a=b\r\nabcde\r\n0\r\n\r\n", b"5; a = b\r\nabcde\r\n0\r\n\r\n", b"5;a=\"b\r\n\"\r\nabcde\r\n0\r\n\r\n",
        b"5;\r\nabcde\r\n0\r\n\r\n", b"5;;;\r\nabcde\r\n0\r\n\r\n", b"5;a\0\r\nabcde\r\n0\r\n\r\n", b"5;a\nb\r\nabcde\r\n0\r\n\r\n", b"5;a\rb\r\nabcde\r\n0\r\n\r\n", b"5;a\xff\r\nabcde\r\n0\r\n\r\n",
        b"5 \r\nabcde\r\n0\r\n\r\n", b"5\t\r\nabcde\r\n0\r\n\r\n", b" 5\r\nabcde\r\n0\r\n\r\n", b"\t5\r\nabcde\r\n0\r\n\r\n", b"5\nabcde\n0\n\n", b"5\nabcde\r\n0\r\n\r\n", b"5\r\nabcde\n0\r\n\r\n", b"5\r\nabcde\r\n0\n\r\n",
        b"5\r\nabcde\r\n0\r\n\n", b"5\r\nabcde\r\n0\n\n", b"5\rabcde\r0\r\r", b"5\r\nabcde\r0\r\n\r\n", b"5\r\nabcde0\r\n\r\n", b"5\r\nabcdef\r\n0\r\n\r\n", b"5\r\nabcd\r\n0\r\n\r\n", b"5\r\n\r\n0\r\n\r\n",
        b"0x5\r\nabcde\r\n0\r\n\r\n", b"+5\r\nabcde\r\n0\r\n\r\n", b"-5\r\nabcde\r\n0\r\n\r\n", b"5h\r\nabcde\r\n0\r\n\r\n", b"g\r\nabcde\r\n0\r\n\r\n", b"\r\nabcde\r\n0\r\n\r\n", b";a\r\nabcde\r\n0\r\n\r\n", b"\"5\"\r\nabcde\r\n0\r\n\r\n",
        b"5_0\r\nabcde\r\n0\r\n\r\n", b"5,5\r\nabcde\r\n0\r\n\r\n", b"5.0\r\nabcde\r\n0\r\n\r\n", b"5\0\r\nabcde\r\n0\r\n\r\n", b"\xb2\r\nab\r\n0\r\n\r\n",
        b"0000000000000005\r\nabcde\r\n0\r\n\r\n", b"00000000000000005\r\nabcde\r\n0\r\n\r\n", b"7fffffffffffffff\r\nabcde", b"8000000000000000\r\nabcde", b"ffffffffffffffff\r\nabcde", b"10000000000000000\r\nabcde",
        b"fffffffffffffffff\r\nabcde", b"100001\r\nabcde", b"5\r\nabcde\r\n0\r\nA: b\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"0\r\nA: b\r\nC: d\r\n\r\n", b"0\r\nA:\r\n\r\n", b"0\r\nA\r\n\r\n", b"0\r\n: b\r\n\r\n",
        b"0\r\nA : b\r\n\r\n", b"0\r\n A: b\r\n\r\n", b"0\r\nA: b\r\n c\r\n\r\n", b"0\r\nA: b\n\n", b"0\r\nA: b\n\r\n", b"0\r\nA: b\r\n\n", b"0\r\nA: \0\r\n\r\n", b"0\r\nHost: y\r\n\r\n", b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\nConnection: close\r\n\r\n", b"0\r\nTrailer: A\r\n\r\n", b"0\r\nA: \xe9\r\n\r\n", b"0\r\n" + b"A: b\r\n" * 17 + b"\r\n", b"0\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"0\r\nA: " + b"b" * 3000 + b"\r\n\r\n", b"0\r\nA: " + b"b" * 5000 + b"\r\n\r\n", b"5;" + b"a" * 200 + b"\r\nabcde\r\n0\r\n\r\n", b"5;" + b"a" * 5000 + b"\r\nabcde\r\n0\r\n\r\n", b"0" * 5000 + b"5\r\nabcde\r\n0\r\n\r\n",
        b"1\r\na\r\n" * 500 + b"0\r\n\r\n", b"1;" + b"a" * 90 + b"\r\na\r\n0\r\n\r\n", (b"1;" + b"a" * 90 + b"\r\na\r\n") * 300 + b"0\r\n\r\n", b"0;a\r\n\r\n", b"0;a=b\r\nA: b\r\n\r\n", b"0 \r\n\r\n",
        b"0\r\n\r\n\r\n", b"0\r\n\r\n0\r\n\r\n", b"0\r\r\n\r\n", b"\r\n0\r\n\r\n", b"", b"HTTP", b"{}", b"5\r\r\nabcde\r\n0\r\n\r\n", b"5\r\nabcde\r\r\n0\r\n\r\n",
    )
    for body in bodies:
        name = repr(body)[1:60]
        for what, head in (("read", CREATE), ("not read", b"GET /ping HTTP/1.1\r\nHost: x\r\n"), ("no route", b"PUT /nope HTTP/1.1\r\nHost: x\r\n")):
            yield f"{what}: {name}", head + b"Transfer-Encoding: chunked\r\n\r\n" + body + (NEXT if body.endswith(b"\n") else b"")


def expectations():
    values = (b"100-continue", b"100-Continue", b"100-CONTINUE", b" 100-continue ", b"100-continue, 100-continue", b"100-continue, x", b"x, 100-continue", b"x", b"", b"100", b"100-continue;a",
              b"\"100-continue\"", b"200-ok", b"x=y", b"100-continue x", b",100-continue", b"100-continue,")
    for value in values:
        field = b"Expect: " + value + b"\r\n"
        yield f"{value!r}, body follows", CREATE + field + b"Content-Length: 5\r\n\r\nabcde" + NEXT
        yield f"{value!r}, no body", CREATE + field + b"\r\n" + NEXT
        yield f"{value!r}, chunked", CREATE + field + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED + NEXT
        yield f"{value!r}, body not read", get(fields=HOST + field + b"Content-Length: 5\r\n") + b"abcde" + NEXT
        yield f"{value!r}, no body, GET", get(fields=HOST + field) + NEXT
        yield f"{value!r}, HTTP/1.0", b"POST /topic/create?topic=@T HTTP/1.0\r\n" + field + b"Content-Length: 5\r\n\r\nabcde" + NEXT
        yield f"{value!r}, no route", b"POST /nope HTTP/1.1\r\nHost: x\r\n" + field + b"Content-Length: 5\r\n\r\nabcde" + NEXT
    again = b"Expect: 100-continue\r\n"
    yield "twice", CREATE + again + again + b"Content-Length: 5\r\n\r\nabcde"
    yield "twice, first unknown", CREATE + b"Expect: x\r\n" + again + b"Content-Length: 5\r\n\r\nabcde"
    yield "twice, second unknown", CREATE + again + b"Expect: x\r\nContent-Length: 5\r\n\r\nabcde"
    yield "twice, first empty", CREATE + b"Expect:\r\nExpect: x\r\nContent-Length: 5\r\n\r\nabcde"
    yield "length 0", CREATE + again + b"Content-Length: 0\r\n\r\n" + NEXT
    yield "body comes later", CREATE + again + b"Content-Length: 5\r\n\r\n"
    yield "bad query", b"POST /topic/create?topic=% HTTP/1.1\r\nHost: x\r\n" + again + b"Content-Length: 5\r\n\r\nabcde" + NEXT
    yield "broken chunks", CREATE + again + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + NEXT
    yield "close", CREATE + again + b"Connection: close\r\nContent-Length: 5\r\n\r\nabcde" + NEXT
    yield "no host", b"POST /topic/create?topic=@T HTTP/1.1\r\n" + again + b"Content-Length: 5\r\n\r\nabcde"


def connections():
    values = (b"close", b"Close", b"CLOSE", b"keep-alive", b"Keep-Alive", b"close, keep-alive", b"keep-alive, close", b"close,close", b",close", b"close,", b" close ", b"close;a", b"\"close\"", b"closed", b"x-close",
              b"close x", b"", b"upgrade", b"upgrade, close", b"TE, close", b"host", b"\tclose", b"a,b,c,close", b"clos\xe9", b"close\0", b"keep-alive;timeout=5", b"none")
    for value, version in product(values, (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2")):
        yield f"{value!r}, {version.decode()}", get(version=version, fields=HOST + b"Connection: " + value + b"\r\n") + NEXT
    for name, some in {
        "close, then keep-alive": b"Connection: close\r\nConnection: keep-alive\r\n",
        "keep-alive, then close": b"Connection: keep-alive\r\nConnection: close\r\n",
        "Proxy-Connection": b"Proxy-Connection: close\r\n",
        "Keep-Alive": b"Keep-Alive: timeout=5, max=1\r\n",
        "in a folded line": b"Connection:\r\n close\r\n",
        "none": b"",
    }.items():
        for version in (b"HTTP/1.1", b"HTTP/1.0"):
            yield f"{name}, {version.decode()}", get(version=version, fields=HOST + some) + NEXT
    for target, method in product((b"/nope", b"/PING", b"/topic/create", b"/lookup", b"*"), (b"GET", b"HEAD", b"POST", b"OPTIONS")):
        yield f"HTTP/1.0 kept, {method.decode()} {target.decode()}", method + b" " + target + b" HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + NEXT
        yield f"HTTP/1.1 closed, {method.decode()} {target.decode()}", method + b" " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + NEXT
        yield f"HTTP/1.0 plain, {method.decode()} {target.decode()}", method + b" " + target + b" HTTP/1.0\r\n\r\n" + NEXT
    yield "HTTP/1.0 kept with a body", b"POST /topic/create?topic=@T HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nabcde" + NEXT


def sizes():
    for size in (1000, 4000, 8000, 8200, 8300, 16000, 17000, 70000):
        yield f"target of {size}", get(b"/" + b"a" * (size - 1))
        yield f"query of {size}", get(b"/lookup?topic=" + b"a" * (size - 14))
        yield f"moved query of {size}", get(b"/LOOKUP?topic=" + b"a" * (size - 14))
        yield f"field of {size}", get(fields=HOST + b"A: " + b"b" * size + b"\r\n")
        yield f"name of {size}", get(fields=HOST + b"A" * size + b": b\r\n")
        yield f"fields of {size}", get(fields=HOST + b"A: bc\r\n" * (size // 7))
        yield f"method of {size}", b"A" * size + b" /ping HTTP/1.1\r\n" + HOST + b"\r\n"
        yield f"host of {size}", get(fields=b"Host: " + b"a" * size + b"\r\n")
    for count in (23, 24, 98, 99, 100, 101, 150):
        yield f"{count} fields", get(fields=HOST + b"A: b\r\n" * (count - 1))
    for size in (1_100_000, 2_000_000):
        yield f"field of {size}", get(fields=HOST + b"A: " + b"b" * size + b"\r\n")
        yield f"target of {size}", get(b"/" + b"a" * size)
        yield f"no line end for {size}", b"A" * size


def truncated():
    whole = (
        ("a GET", b"GET /ping HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n"),
        ("a POST", b"POST /topic/create?topic=@T HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde"),
        ("chunks", b"POST /topic/create?topic=@T HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nabcde\r\n0\r\nA: b\r\n\r\n"),
        ("a body nobody reads", b"GET /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde"),
    )
    for name, request in whole:
        start = 0 if name in ("a GET", "chunks") else request.index(b"\r\n\r\n") - 2
        for cut in range(start, len(request) + 1):
            # Before the body all requests are alike but for their length.
            if name == "chunks" and cut % 3 and cut < request.index(b"\r\n\r\n"):
                continue
            yield f"{name} after {cut} bytes", request[:cut]
    yield "an expectation", CREATE + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    yield "an expectation, part of the body", CREATE + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nab"
    yield "the second of two", get() + b"GET /nodes HTT"
    yield "three", get() * 3
    yield "a GET, bare line ends", b"GET /ping HTTP/1.1\nHost: x\n"


def pairs():
    some = {
        "GET": get(),
        "HEAD": b"HEAD /ping HTTP/1.1\r\nHost: x\r\n\r\n",
        "404": get(b"/nope"),
        "moved": get(b"/LOOKUP?topic=a"),
        "moved POST": b"POST /TOPIC/create?topic=@T HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde",
        "POST": CREATE + b"Content-Length: 5\r\n\r\nabcde",
        "chunked": CREATE + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED,
        "1.0 kept": get(version=b"HTTP/1.0", fields=b"Connection: keep-alive\r\n"),
        "1.0": get(version=b"HTTP/1.0", fields=b""),
        "close": get(fields=HOST + b"Connection: close\r\n"),
        "bad": b"GET /ping HTTP/1.1\r\nA b\r\nHost: x\r\n\r\n",
        "no host": get(fields=b""),
        "OPTIONS": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        "body not read": b"DELETE /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde",
    }
    for (a, one), (b, two) in product(some.items(), repeat=2):
        yield f"{a}, {b}", one + two
    for count in (10, 50):
        yield f"{count} GETs", get() * count
        yield f"{count} of all kinds", b"".join(some[name] for name in ("GET", "HEAD", "404", "POST", "chunked")) * (count // 5)


def leftovers():
    """An answered request, then up to six bytes of another."""
    answered = {
        "GET": get(),
        "HEAD": b"HEAD /nope HTTP/1.1\r\nHost: x\r\n\r\n",
        "404": get(b"/nope"),
        "1.0 kept": get(version=b"HTTP/1.0", fields=b"Connection: keep-alive\r\n"),
        "POST without a body": CREATE + b"Content-Length: 0\r\n\r\n",
        "POST": CREATE + b"Content-Length: 5\r\n\r\nabcde",
        "chunked": CREATE + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED,
        "GET with a body": get(fields=HOST + b"Content-Length: 5\r\n") + b"abcde",
        "two": get() + CREATE + b"Content-Length: 0\r\n\r\n",
    }
    rests = [
        *(b"GET /p"[:size] for size in range(7)),
        *(b"POST /"[:size] for size in range(1, 7)),
        *(b"\n" * size for size in range(1, 7)),
        *(b"\r\n\r\n\r\n"[:size] for size in (1, 2, 3, 4, 5, 6)),
        *(b"\0" * size for size in (1, 3, 4)),
        *(b" ", b" \r\n", b" \r\n\n", b"x\n", b"x\r\n", b"xy\r\n", b"\nG", b"\nGE", b"\nGET", b"\n\n\nG", b"\r\nGET", b"\r\n\r\nGE"),
    ]
    for (name, request), rest in product(answered.items(), rests):
        yield f"{name}, then {rest!r}", request + rest


FAMILIES = (methods, spaces, targets, queries, versions, hosts, fields, ends, lengths, encodings, chunks, expectations, connections, sizes, truncated, pairs, leftovers)


def everything():
    """Yields `(name, request, then)`: `then` is `close` where the client half-closes behind it."""
    seen = set()
    for family in FAMILIES:
        names = {}
        for name, request in family():
            then = "close" if family in (truncated, leftovers) else "ask"
            if (request, then) in seen:
                continue
            seen.add((request, then))
            count = names[name] = names.get(name, 0) + 1
            name = f"{family.__name__}: {name}" + (f" ({count})" if count > 1 else "")
            yield name, request.replace(b"@T", b"odd%04d" % len(seen)), then


if __name__ == "__main__":
    print(sum(1 for _ in everything()), "requests")
