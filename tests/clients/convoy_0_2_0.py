"""Convoy's Python client 0.2.0, used as its users do, against a running gateway.

    PYTHONPATH=tests/.cache/convoy-python-0.2.0 python3 tests/clients/convoy_0_2_0.py \
        '{"root": "http://127.0.0.1:5005", "admin_key": "CO....", "org_id": "..."}'

`org_id` may be absent. The client's own calls for projects go to a route Convoy no longer has, so the two projects
are made with plain requests. Needs a gateway that may deliver to loopback. Exits with 0 when everything held.
"""

import requests
from convoy import Convoy
from convoy.utils.webhook import Webhook

from support import Receiver, compact, equal, hmac_hex, post, settings, step, wait_for

NO_SUCH_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
SECRET = "a-simple-secret"


def ok(answer: tuple[dict, int], status: int, what: str):
    """The `data` of a successful answer; the client itself never looks at the status code."""
    reply, actual = answer
    equal(actual, status, f"{what}: the status code ({reply})")
    equal(reply["status"], True, f"{what}: status ({reply})")
    assert reply["message"], f"{what}: there is no message: {reply}"
    assert "data" in reply, f"{what}: there is no data: {reply}"
    return reply["data"]


def refused(answer: tuple[dict, int], statuses: tuple[int, ...], what: str) -> None:
    reply, actual = answer
    assert actual in statuses, f"{what}: the status code is {actual}, expected one of {statuses} ({reply})"
    equal(reply["status"], False, f"{what}: status")
    assert reply["message"], f"{what}: there is no message: {reply}"


def uids(rows: list[dict]) -> list[str]:
    return [row["uid"] for row in rows]


def make_project(given: dict, kind: str) -> tuple[str, str]:
    """The id of a new project and its key."""
    reply = requests.post(
        f"{given['root']}/api/v1/projects",
        params={"orgID": given.get("org_id", "default")},
        headers={"Authorization": f"Bearer {given['admin_key']}"},
        json={
            "name": f"client-0.2.0-{kind}",
            "type": kind,
            "config": {"strategy": {"type": "linear", "duration": 1, "retry_count": 1}},
        },
        timeout=30,
    )
    data = ok((reply.json(), reply.status_code), 201, f"create an {kind} project")
    return data["project"]["uid"], data["api_key"]["key"]


def outgoing(given: dict, receiver: Receiver, project: str, key: str, slash: str) -> None:
    client = Convoy({"api_key": key, "uri": f"{given['root']}/api/v1/projects/{project}{slash}"})
    # Paths and keys of their own for each of the two runs.
    run = "slash" if slash else "plain"
    path, failing = f"/{run}", f"/{run}-failing"
    receiver.failing.add(failing)

    step("create, find, list, update endpoints")
    body = {
        "name": run, "url": receiver.url(path), "description": "Default Endpoint", "secret": SECRET,
        "events": ["*"], "advanced_signatures": False,
    }
    endpoint = ok(client.endpoint.create({}, body), 201, "endpoint.create")
    for name in ("name", "url", "description", "advanced_signatures"):
        equal(endpoint[name], body[name], f"endpoint.create: {name}")
    equal([secret["value"] for secret in endpoint["secrets"]], [SECRET], "endpoint.create: secrets")
    equal(endpoint["status"], "active", "endpoint.create: status")
    second = ok(client.endpoint.create({}, {"name": failing[1:], "url": receiver.url(failing)}), 201,
                "endpoint.create")
    refused(client.endpoint.create({}, {"description": "neither name nor url"}), (400,), "endpoint.create")
    if slash:
        equal(ok(client.endpoint.find(endpoint["uid"], {}), 200, "endpoint.find")["uid"], endpoint["uid"],
              "endpoint.find: uid")
        refused(client.endpoint.find(NO_SUCH_ID, {}), (404,), "endpoint.find of an unknown id")
    else:
        # Without a slash in its uri the client asks for `.../projects/<id>endpoints/<id>`, which is nothing.
        refused(client.endpoint.find(endpoint["uid"], {}), (401, 404), "endpoint.find at a path that is none")
    rows = ok(client.endpoint.all({"perPage": 10, "page": 1}), 200, "endpoint.all")
    for uid in (endpoint["uid"], second["uid"]):
        assert uid in uids(rows["content"]), f"endpoint.all lacks {uid}"
    equal(rows["pagination"]["per_page"], 10, "endpoint.all: per_page")
    changed = ok(client.endpoint.update(endpoint["uid"], {}, body | {"description": "changed"}), 202,
                 "endpoint.update")
    equal(changed["description"], "changed", "endpoint.update: description")
    equal(changed["uid"], endpoint["uid"], "endpoint.update: uid")

    step("create, find, list, update subscriptions")
    body = {
        "name": run, "endpoint_id": endpoint["uid"], "source_id": "",
        "alert_config": {"count": 10, "threshold": "1h"},
        "retry_config": {"type": "linear", "duration": "3s", "retry_count": 3},
        "filter_config": {"event_types": ["payment.success"]},
    }
    subscription = ok(client.subscription.create({}, body), 201, "subscription.create")
    equal(subscription["filter_config"]["event_types"], ["payment.success"], "subscription.create: event_types")
    equal(subscription["endpoint_metadata"]["uid"], endpoint["uid"], "subscription.create: endpoint_metadata.uid")
    found = ok(client.subscription.find(subscription["uid"], {}), 200, "subscription.find")
    equal(found["name"], run, "subscription.find: name")
    rows = ok(client.subscription.all({"endpointId": endpoint["uid"]}), 200, "subscription.all")
    equal(uids(rows["content"]), [subscription["uid"]], "subscription.all of one endpoint")
    body |= {"name": f"{run}-renamed", "filter_config": {"event_types": ["payment.success", "payment.failed"]}}
    changed = ok(client.subscription.update(subscription["uid"], {}, body), 202, "subscription.update")
    equal(changed["name"], f"{run}-renamed", "subscription.update: name")

    step("create, list, find events")
    # This client sends JSON with spaces and with \u escapes: the spaces go, the escapes stay.
    data = {"event": "payment.success", "data": {"status": "Completed", "note": "café <&>", "amount": 12.50}}
    body = {
        "endpoint_id": endpoint["uid"], "event_type": "payment.success", "data": data, "idempotency_key": f"{run}-1",
    }
    ok(client.event.create({}, body), 201, "event.create")
    ok(client.event.create({}, body), 201, "event.create of a duplicate")
    received = receiver.wait(path, 1)[0]
    equal(received.body, compact(data, ascii_only=True), "the delivered body")
    # A string in place of True is how this verifier says no.
    verify = Webhook(SECRET).verify_signature
    equal(verify(received.body.decode(), received.signature), True, "the verifier's answer")
    equal(verify(received.body.decode() + " ", received.signature), "Invalid signature.", "for a changed body")
    equal(Webhook("wrong").verify_signature(received.body.decode(), received.signature), "Invalid signature.",
          "for a wrong secret")

    def events() -> list[dict]:
        rows = ok(client.event.all({"idempotencyKey": f"{run}-1"}), 200, "event.all")["content"]
        return [row for row in rows if not row["is_duplicate_event"]]

    event = wait_for(events, "the event in event.all")[0]
    event = ok(client.event.find(event["uid"], {}), 200, "event.find")
    equal(event["event_type"], "payment.success", "event.find: event_type")
    equal(event["data"], data, "event.find: data")
    refused(client.event.find(NO_SUCH_ID, {}), (404,), "event.find of an unknown id")
    refused(client.event.create({}, body | {"event_type": ""}), (400,), "event.create without an event type")

    def delivery_of(event_uid: str, status: str) -> dict:
        rows = wait_for(
            lambda: ok(client.event_delivery.all({"eventId": event_uid, "status": status}), 200,
                       "event_delivery.all")["content"],
            f"a delivery of {event_uid} with status {status}")
        equal(len(rows), 1, f"the number of deliveries of {event_uid} with status {status}")
        return rows[0]

    step("list, find, resend deliveries, and their attempts")
    delivery = delivery_of(event["uid"], "Success")
    found = ok(client.event_delivery.find(delivery["uid"], {}), 200, "event_delivery.find")
    equal(found["endpoint_id"], endpoint["uid"], "event_delivery.find: endpoint_id")
    equal(found["status"], "Success", "event_delivery.find: status")
    refused(client.event_delivery.find(NO_SUCH_ID, {}), (404,), "event_delivery.find of an unknown id")
    refused(client.event_delivery.resend(delivery["uid"], {}), (400,), "event_delivery.resend of a delivered one")
    attempts = ok(client.delivery_attempt.all(delivery["uid"], {}), 200, "delivery_attempt.all")
    equal([one["http_status"] for one in attempts], ["200 OK"], "delivery_attempt.all: http_status")
    attempt = ok(client.delivery_attempt.find(delivery["uid"], attempts[0]["uid"], {}), 200, "delivery_attempt.find")
    equal((attempt["msg_id"], attempt["status"]), (delivery["uid"], True), "delivery_attempt.find: msg_id and status")

    # This endpoint has no subscription: a directed event reaches it all the same.
    body = {"endpoint_id": second["uid"], "event_type": "payment.failed", "data": data, "idempotency_key": f"{run}-2"}
    ok(client.event.create({}, body), 201, "event.create")
    rows = wait_for(lambda: ok(client.event.all({"idempotencyKey": f"{run}-2"}), 200, "event.all")["content"],
                    "the second event in event.all")
    delivery = delivery_of(rows[0]["uid"], "Failure")
    receiver.failing.discard(failing)
    ok(client.event_delivery.resend(delivery["uid"], {}), 200, "event_delivery.resend")
    equal(delivery_of(rows[0]["uid"], "Success")["uid"], delivery["uid"], "the delivery after resend")
    receiver.wait(failing, 2)
    attempts = ok(client.delivery_attempt.all(delivery["uid"], {}), 200, "delivery_attempt.all")
    equal(sorted(one["status"] for one in attempts), [False, True], "delivery_attempt.all: status")

    step("delete a subscription and the endpoints")
    ok(client.subscription.delete(subscription["uid"], {}, {}), 200, "subscription.delete")
    refused(client.subscription.find(subscription["uid"], {}), (404,), "subscription.find of a deleted one")
    for uid in (endpoint["uid"], second["uid"]):
        ok(client.endpoint.delete(uid, {}, {}), 200, "endpoint.delete")
    rows = ok(client.endpoint.all({}), 200, "endpoint.all")["content"]
    equal(rows, [], "endpoint.all after all are deleted")
    equal(len(receiver.at(path)), 1, f"the number of requests to {path}")


def incoming(given: dict, receiver: Receiver, project: str, key: str, slash: str) -> None:
    client = Convoy({"api_key": key, "uri": f"{given['root']}/api/v1/projects/{project}{slash}"})
    run = "slash" if slash else "plain"
    path = f"/{run}-incoming"

    step("create, find, list, update, delete sources")
    body = {"name": run, "type": "http", "provider": "github", "verifier": {"hmac": {"secret": "github-secret"}}}
    source = ok(client.source.create({}, body), 201, "source.create")
    equal((source["name"], source["type"], source["provider"]), (run, "http", "github"), "source.create")
    equal(ok(client.source.find(source["uid"], {}), 200, "source.find")["mask_id"], source["mask_id"],
          "source.find: mask_id")
    refused(client.source.find(NO_SUCH_ID, {}), (404,), "source.find of an unknown id")
    rows = ok(client.source.all({"provider": "github"}), 200, "source.all")["content"]
    equal(uids(rows), [source["uid"]], "source.all")
    body = {
        "name": f"{run}-renamed", "type": "http", "provider": "github", "is_disabled": False,
        "verifier": {"type": "hmac", "hmac": {
            "encoding": "hex", "hash": "SHA256", "header": "X-Hub-Signature-256", "secret": "github-secret",
        }},
    }
    changed = ok(client.source.update(source["uid"], {}, body), 202, "source.update")
    equal((changed["name"], changed["mask_id"]), (f"{run}-renamed", source["mask_id"]), "source.update")

    endpoint = ok(client.endpoint.create({}, {"name": run, "url": receiver.url(path), "secret": SECRET}), 201,
                  "endpoint.create")
    body = {"name": run, "endpoint_id": endpoint["uid"], "source_id": source["uid"],
            "filter_config": {"event_types": ["*"]}}
    subscription = ok(client.subscription.create({}, body), 201, "subscription.create")
    equal(subscription["source_metadata"]["uid"], source["uid"], "subscription.create: source_metadata.uid")
    hook = b'{"action":"opened","number":7}'
    status, reply = post(f"{given['root']}/ingest/{source['mask_id']}", hook, {
        "Content-Type": "application/json", "X-GitHub-Event": "pull_request",
        "X-Hub-Signature-256": f"sha256={hmac_hex('github-secret', hook)}",
    })
    equal((status, reply["status"]), (200, True), "the reply to an event of GitHub")
    equal(receiver.wait(path, 1)[0].body, hook, f"what {path} got")
    rows = wait_for(lambda: ok(client.event.all({"sourceId": source["uid"]}), 200, "event.all")["content"],
                    "the incoming event in event.all")
    equal(rows[0]["source_id"], source["uid"], "event.all: source_id")

    ok(client.endpoint.delete(endpoint["uid"], {}, {}), 200, "endpoint.delete")
    ok(client.source.delete(source["uid"], {}, {}), 200, "source.delete")
    refused(client.source.find(source["uid"], {}), (404,), "source.find of a deleted one")


def main() -> None:
    given = settings()
    receiver = Receiver()
    for kind, part in (("outgoing", outgoing), ("incoming", incoming)):
        project, key = make_project(given, kind)
        for slash in ("", "/"):
            step(f"{kind} project, uri {'with' if slash else 'without'} a trailing slash")
            part(given, receiver, project, key, slash)
    print("ok")


if __name__ == "__main__":
    main()
