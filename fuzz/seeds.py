"""Writes what fuzzing starts from into the folder given: presets, and the requests of the published vectors."""

import base64
import gzip
import json
import pathlib
import sys
import zlib

top = pathlib.Path(__file__).parent.parent
out = pathlib.Path(sys.argv[1])
shared = top.parent / "shared" / "vectors"
shared = shared if shared.exists() else top / "tests" / "vectors"
vectors = json.loads((shared / "verification.json").read_text())


def seed(target, name, data):
    folder = out / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name.replace("/", "-")).write_bytes(data)


for path in (top / "webhook" / "presets").glob("*.json"):
    seed("preset", path.stem, path.read_bytes())
for name, preset in vectors["presets"].items():
    seed("preset", f"published-{name}", json.dumps(preset).encode())
for vector in vectors["vectors"] + vectors["challenges"]:
    line = vector["method"] + "?" + vector["query"]
    head = "\n".join([line, *(f"{name}: {value}" for name, value in vector["headers"])])
    seed("headers", vector["id"], head.encode() + b"\n\n" + base64.b64decode(vector["body"]))

for case in json.loads((shared / "ssrf.json").read_text())["cases"]:
    seed("authority", case["id"], case["input"].encode())

V2 = b"\r\n\r\n\0\r\nQUIT\n"
for name, header in {
    "v1-tcp4": b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\n",
    "v1-tcp6": b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 1 65535\r\n",
    "v1-unknown": b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n",
    "v2-local": V2 + b"\x20\0\0\0",
    "v2-tcp4": V2 + b"\x21\x11\0\x0c" + bytes([192, 168, 0, 1, 192, 168, 0, 11, 0xDC, 4, 1, 0xBB]),
    "v2-tcp6-vectors": V2 + b"\x21\x21\0\x2c" + bytes(36) + b"\x04\0\x01\0\x03\0\x01\0",
    "v2-unix": V2 + b"\x21\x31\0\xd8" + bytes(216),
}.items():
    seed("proxy_protocol", name, header)

for name, request in {
    "length": b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "chunked": b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nX: a\r\n\r\n",
    "connect": b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
    "absolute": b"POST http://a.example/b?c HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\n{}",
    "answer": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    "answer-chunked": b"HTTP/1.0 200\r\nTransfer-Encoding: chunked\r\nConnection: a, keep-alive\r\n\r\n0\r\n\r\n",
    "old": b"\r\nGET /a?b=c HTTP/1.0\r\nX: a\tb\r\n\r\n",
}.items():
    seed("http1", name, bytes([40]) + request)

for name, lines in {
    "stripe": ("t={timestamp},{signatures}", "{timestamp}.{body}", "v1={signature}", ","),
    "github": ("sha256={signature}",),
    "square": ("{signature}", "{url}{body}"),
    "time": ("{timestamp}",),
}.items():
    seed("signature_header", name, "\n".join(lines).encode())

for name, (template, url) in {
    "path": ("https://h.example/{a}/x{b}.json", "https://h.example/1/x2.json"),
    "query": ("https://h.example/{a}?v=1&k={k}", "https://h.example/1?k=2&v=1"),
    "out": ("https://h.example/t/{a}", "https://h.example/t/%252e%252e"),
}.items():
    seed("url_template", name, f"{template}\n{url}".encode())

BODIES = {
    "json": ("application/json", b'{"a":[1,2.50,{"b":null}],"c":"\\u00e9"}'),
    "form": ("application/x-www-form-urlencoded", b"a=1&a=2&b=%C3%A9+x&=&c"),
    "multipart": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="n.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\nfile\r\n--x--\r\n",
    ),
    "xml": ("application/xml", b'<?xml version="1.0"?><r a="1"><i>x</i><i>&lt;y</i><![CDATA[z]]></r>'),
}
CODINGS = {"gzip": gzip.compress, "deflate": zlib.compress}
for name, (content_type, body) in BODIES.items():
    head = f"POST?q=1\nContent-Type: {content_type}"
    seed("body", name, f"{head}\n\n".encode() + body)
    for coding, encode in CODINGS.items():
        seed("body", f"{name}-{coding}", f"{head}\nContent-Encoding: {coding}\n\n".encode() + encode(body))

EVENT = b'{"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"text/xml","data_base64":"PGEvPg=="}'
seed("cloudevents", "structured", b"POST\nContent-Type: application/cloudevents+json\n\n" + EVENT)
seed("cloudevents", "batch", b"POST\nContent-Type: application/cloudevents-batch+json\n\n[" + EVENT + b"," + EVENT + b"]")
seed("cloudevents", "binary", b"POST\nce-specversion: 1.0\nce-id: 1\nce-source: /a\nce-type: t%C3%A9\nce-time: 2026-01-01T00:00:00Z\n\n{}")

FILTERS = [
    ('{"person":{"age":{"$gte":5}}}', '{"person":{"age":5}}'),
    ('{"cur":{"$in":["NGN",1]},"tags":"b"}', '{"cur":"NGN","tags":["a","b"]}'),
    ('{"$and":[{"a":1},{"$or":[{"b":7},{"c":{"$neq":"z"}}]}]}', '{"a":"1","c":"y"}'),
    ('{"mail":{"$regex":"@acme\\\\.io$"},"x":{"$exist":false}}', '{"mail":"joe@acme.io"}'),
    ('{"o.$.i.$.s":2,"n":{"$nin":[1e300]}}', '{"o":[{"i":[{"s":1},{"s":2}]}],"n":18446744073709551616}'),
    ('{"$.e":{"$lt":10,"$gt":-1.5}}', '[{"e":"x"},{"e":3}]'),
]
for number, lines in enumerate(FILTERS):
    seed("filter", str(number), "\n".join(lines).encode())

SCHEMAS = {
    "plain": ('{"type":"object","required":["a"],"properties":{"a":{"type":"integer","minimum":1},"b":{"enum":["x",null]}}}', '{"a":0}'),
    "tree": ('{"$ref":"#/$defs/n","$defs":{"n":{"properties":{"l":{"$ref":"#/$defs/n"},"r":{"$ref":"#/$defs/n"}},"required":["v"]}}}', '{"v":1,"l":{}}'),
    "draft-7": ('{"$schema":"http://json-schema.org/draft-07/schema#","if":{"const":1},"then":{"format":"email"},"else":{"pattern":"^(a+)+$"}}', '"aab"'),
    "open": ('{"allOf":[{"$ref":"#t"}],"unevaluatedProperties":false,"$defs":{"t":{"$anchor":"t","patternProperties":{"^x":{}}}}}', '{"x1":1,"y":[1,1]}'),
    "lists": ('{"prefixItems":[{"type":"null"}],"items":{"oneOf":[{"multipleOf":2},{"multipleOf":3}]},"contains":{"const":6},"uniqueItems":true}', '[null,6,4]'),
}
for name, (schema, value) in SCHEMAS.items():
    seed("schema", name, f"{schema}\n\n{value}".encode())
