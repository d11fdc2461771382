"""Python's HTTP clients through a forward proxy; see tests/system/forward/clients.rs."""

import json
import sys

import httpx
import requests
import ssl

given = json.loads(sys.argv[1])
tls = ssl.create_default_context(cafile=given["roots"])


def with_user(proxy, password):
    scheme, rest = proxy.split("://")
    return f"{scheme}://{given['user']}:{password}@{rest}"


def by_requests(proxy, url, body):
    session = requests.Session()
    session.trust_env = False
    session.verify = given["roots"]
    session.proxies = {"http": proxy, "https": proxy}
    try:
        answers = [session.post(url, data=body, timeout=60) for _ in range(3)]
    except requests.exceptions.ProxyError as error:
        return f"ProxyError {'407' if '407' in str(error) else error}"
    return " ".join({f"{answer.status_code} {answer.text.strip()}" for answer in answers})


def by_httpx(proxy, url, body):
    through = httpx.Proxy(proxy, ssl_context=tls if proxy.startswith("https") else None)
    with httpx.Client(proxy=through, verify=tls, timeout=60, trust_env=False) as client:
        try:
            answers = [client.post(url, content=body) for _ in range(3)]
        except httpx.ProxyError as error:
            return f"ProxyError {'407' if '407' in str(error) else error}"
        return " ".join({f"{answer.status_code} {answer.text.strip()}" for answer in answers})


def chunks():
    yield b"abc"
    yield b"defg"


told = {}
for name, ask in [("requests", by_requests), ("httpx", by_httpx)]:
    for proxy in ["plain", "secured"]:
        for url in ["http", "https"]:
            key = f"{name} {proxy} {url}"
            right = with_user(given[proxy], given["password"])
            told[key] = ask(right, given[url], b"body")
            told[f"{key} large"] = ask(right, given[url], b"x" * 2_000_000)
            wrong = with_user(given[proxy], given["wrong"])
            told[f"{key} wrong"] = ask(wrong, given[url], b"body").split("\n")[0][:16]
plain = with_user(given["plain"], given["password"])
proxies = {"http": plain, "https": plain}
answer = requests.post(given["http"], data=chunks(), proxies=proxies, timeout=60)
told["requests chunks"] = f"{answer.status_code} {answer.text}"
print(json.dumps(told))
