"""Convoy's generated Python client 1.0.0a1, used as its users do, against a running gateway.

    PYTHONPATH=tests/.cache/convoy-python-1.0.0a1 python3 tests/clients/convoy_1_0_0a1.py \
        '{"root": "http://127.0.0.1:5005", "admin_key": "CO....", "org_id": "...", "skip": ["dynamic"]}'

`org_id` (the client insists on sending one) and `skip` (names of functions below, each independent of the others)
may be absent. Needs a gateway that may deliver to loopback. Exits with 0 when everything held.
"""

import datetime
import types
import typing
from enum import Enum

import attrs
import httpx
from convoy import AuthenticatedClient, models
from convoy.api.delivery_attempts import get_delivery_attempt, get_delivery_attempts
from convoy.api.endpoints import (
    activate_endpoint,
    create_endpoint,
    delete_endpoint,
    expire_secret,
    get_endpoint,
    get_endpoints,
    pause_endpoint,
    update_endpoint,
)
from convoy.api.event_deliveries import (
    force_resend_event_deliveries,
    get_event_deliveries_paged,
    get_event_delivery,
    resend_event_delivery,
)
from convoy.api.event_types import (
    create_event_type,
    deprecate_event_type,
    get_event_types,
    import_open_api_spec,
    update_event_type,
)
from convoy.api.events import (
    create_broadcast_event,
    create_dynamic_event,
    create_endpoint_event,
    create_endpoint_fanout_event,
    get_endpoint_event,
    get_events_paged,
    replay_endpoint_event,
)
from convoy.api.projects import create_project, delete_project, get_project, get_projects, update_project
from convoy.api.sources import create_source, delete_source, get_source, load_sources_paged, update_source
from convoy.api.subscriptions import (
    create_subscription,
    delete_subscription,
    get_subscription,
    get_subscriptions,
    toggle_subscription_status,
    update_subscription,
)
from convoy.types import UNSET, Unset
from convoy.utils.webhook import Webhook

from support import Receiver, compact, equal, hmac_hex, post, settings, step, wait_for

NO_SUCH_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
SIMPLE_SECRET = "a-simple-secret"
GIVEN_SECRET = "a-given-secret"


# --- Judging replies ---------------------------------------------------------------------------------------------

NAMES = {name: getattr(models, name) for name in models.__all__} | {"Unset": Unset}


def mismatch(value: object, declared: object, where: str) -> str | None:
    """Where a reply differs from the types the client declares, or nothing.

    The client raises only for some differences. For others it hands out a plain dict in place of a model, or a None
    in place of a string, and its user's program fails later.
    """
    if declared is typing.Any:
        return None
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin in (types.UnionType, typing.Union):
        found = [mismatch(value, option, where) for option in arguments]
        if None in found:
            return None
        # What is wrong inside says more than that the whole is neither this nor that.
        shallow = f"{where} is {value!r}, declared as"
        return next((text for text in found if not text.startswith(shallow)), f"{shallow} {declared}")
    if origin is list:
        if not isinstance(value, list):
            return f"{where} is {value!r}, declared as a list"
        found = [mismatch(item, arguments[0], f"{where}[{index}]") for index, item in enumerate(value)]
        return next((text for text in found if text), None)
    if origin is dict:
        found = [mismatch(item, arguments[1], f"{where}[{key!r}]") for key, item in value.items()]
        return next((text for text in found if text), None)
    if declared is float and type(value) is int:
        return None
    # type() and not isinstance(): a bool is an int to Python, not to JSON.
    if type(value) is not declared:
        if isinstance(value, dict) and attrs.has(declared):
            try:
                declared.from_dict(value)
            except Exception as refusal:
                return f"{where} is not a {declared.__name__} ({refusal!r}): {value!r}"
        return f"{where} is {value!r}, declared as {declared.__name__}"
    if attrs.has(declared) and not isinstance(value, Enum):
        for name, hint in typing.get_type_hints(declared, localns=NAMES).items():
            if text := mismatch(getattr(value, name), hint, f"{where}.{name.rstrip('_')}"):
                return text
    return None


def checked(reply, status: int, what: str):
    """The parsed reply, which must have this status code and the declared shape."""
    equal(int(reply.status_code), status, f"{what}: the status code ({reply.content[:500]!r})")
    parsed = reply.parsed
    assert parsed is not None, f"{what}: the client cannot read {reply.content!r}"
    text = mismatch(parsed, type(parsed), what)
    assert text is None, text
    assert parsed.message, f"{what}: message is {parsed.message!r}"
    equal(parsed.status, status < 400, f"{what}: status")
    return parsed


def ok(reply, status: int, what: str):
    """The `data` of a successful reply."""
    return checked(reply, status, what).data


def refused(reply, status: int, what: str) -> str:
    """The message of a refusal."""
    return checked(reply, status, what).message


def present(value, what: str, *names: str) -> None:
    for name in names:
        assert getattr(value, name) is not UNSET, f"{what}.{name} is absent"


def uids(rows) -> list[str]:
    return [row.uid for row in rows]


def page_through(list_page, directions, expected: list[str], what: str) -> None:
    """Walks a list one row a page to its end and back. `expected` are the uids in any order."""
    for sort in ("DESC", "ASC"):
        rows, forth, back = sorted(expected, reverse=sort == "DESC"), [], []
        cursor: dict = {}
        while True:
            data = ok(list_page(per_page=1, sort=sort, **cursor), 200, f"{what}, {sort}, page {len(forth)}")
            equal(len(data.content), 1, f"{what}, {sort}: the rows of page {len(forth)}")
            forth += uids(data.content)
            page = data.pagination
            equal(page.per_page, 1, f"{what}: per_page")
            equal(page.has_prev_page, len(forth) > 1, f"{what}, {sort}: has_prev_page on page {len(forth)}")
            equal(page.has_next_page, len(forth) < len(rows), f"{what}, {sort}: has_next_page on page {len(forth)}")
            if not page.has_next_page:
                break
            cursor = {"next_page_cursor": page.next_page_cursor, "direction": directions.NEXT}
        equal(forth, rows, f"{what}, {sort}, page by page")
        back += uids(data.content)
        while page.has_prev_page:
            cursor = {"prev_page_cursor": page.prev_page_cursor, "direction": directions.PREV}
            data = ok(list_page(per_page=1, sort=sort, **cursor), 200, f"{what}, {sort}, backwards")
            back += uids(data.content)
            page = data.pagination
            assert len(back) <= len(rows), f"{what}, {sort}: backwards has no end: {back}"
        equal(back, rows[::-1], f"{what}, {sort}, page by page backwards")


# --- The parts ---------------------------------------------------------------------------------------------------


class Outgoing:
    """A project with three endpoints: `simple` and `advanced` of one owner, `failing` of another."""

    def __init__(self, given: dict, receiver: Receiver) -> None:
        self.given, self.receiver = given, receiver
        self.org_id = given.get("org_id", "default")
        self.admin = connect(given["root"], given["admin_key"])
        self.create_project()
        self.create_endpoints()
        self.create_subscriptions()

    def create_project(self) -> None:
        step("create an outgoing project")
        body = models.ModelsCreateProject(
            name="client-1.0.0a1-outgoing", type_="outgoing", config=quick_retries(signature_versions("SHA256", "hex"))
        )
        data = ok(create_project.sync_detailed(client=self.admin, body=body, org_id=self.org_id), 201, "create project")
        project, key = data.project, data.api_key
        present(project, "project", "uid", "name", "type_", "config", "organisation_id", "created_at", "updated_at")
        equal(project.name, "client-1.0.0a1-outgoing", "project.name")
        equal(project.type_, models.DatastoreProjectType.OUTGOING, "project.type")
        self.check_config(project.config, "create project")
        assert key.key.startswith("CO."), f"the project's key is {key.key!r}"
        equal(key.role.project, project.uid, "api_key.role.project")
        present(key, "api_key", "uid", "name", "key_type", "created_at")
        self.id, self.key = project.uid, key.key
        self.client = connect(self.given["root"], self.key)

        # From here on with the key the project came with.
        project = ok(get_project.sync_detailed(self.id, client=self.client), 200, "get project")
        equal(project.uid, self.id, "get project: uid")
        self.check_config(project.config, "get project")
        rows = ok(get_projects.sync_detailed(client=self.admin, org_id=self.org_id), 200, "list projects")
        assert self.id in uids(rows), f"the new project is not among {uids(rows)}"
        refused(create_project.sync_detailed(
            client=self.admin, body=models.ModelsCreateProject(name="x", type_="sideways"), org_id=self.org_id
        ), 400, "create a project of an unknown type")
        wrong = connect(self.given["root"], self.key[:-1] + ("a" if self.key[-1] != "a" else "b"))
        refused(get_project.sync_detailed(self.id, client=wrong), 401, "get project with a wrong key")

        body = models.ModelsUpdateProject(name="client-1.0.0a1-renamed", config=models.ModelsProjectConfig(
            ratelimit=models.ModelsRateLimitConfiguration(count=500, duration=30)
        ))
        project = ok(update_project.sync_detailed(self.id, client=self.admin, body=body), 202, "update project")
        equal(project.name, "client-1.0.0a1-renamed", "update project: name")
        equal(project.config.ratelimit.count, 500, "update project: ratelimit.count")
        self.check_config(project.config, "update project, which leaves what it does not name")

    def check_config(self, config, what: str) -> None:
        equal(config.strategy.type_, models.DatastoreStrategyProvider.LINEAR, f"{what}: strategy.type")
        equal(config.strategy.duration, 1, f"{what}: strategy.duration")
        equal(config.strategy.retry_count, 2, f"{what}: strategy.retry_count")
        equal(config.signature.header.value, "X-Convoy-Signature", f"{what}: signature.header")
        equal([(v.hash_, v.encoding.value) for v in config.signature.versions], [("SHA256", "hex")],
              f"{what}: signature.versions")

    def create_endpoints(self) -> None:
        step("create, read, list and change endpoints")
        self.simple = self.create_endpoint("simple", advanced_signatures=False, secret=SIMPLE_SECRET)
        self.advanced = self.create_endpoint("advanced", secret=GIVEN_SECRET)
        self.failing = self.create_endpoint("failing", owner_id="owner-2")
        self.receiver.failing.add("/failing")

        simple = ok(get_endpoint.sync_detailed(self.id, self.simple, client=self.client), 200, "get endpoint")
        equal(simple.uid, self.simple, "get endpoint: uid")
        equal(simple.advanced_signatures, False, "get endpoint: advanced_signatures")
        equal([secret.value for secret in simple.secrets], [SIMPLE_SECRET], "get endpoint: secrets")
        generated = ok(get_endpoint.sync_detailed(self.id, self.failing, client=self.client), 200, "get endpoint")
        assert len(generated.secrets[0].value) >= 25, f"the generated secret is {generated.secrets[0].value!r}"
        refused(get_endpoint.sync_detailed(self.id, NO_SUCH_ID, client=self.client), 404, "get an unknown endpoint")
        refused(create_endpoint.sync_detailed(
            self.id, client=self.client, body=models.ModelsCreateEndpoint(name="no url")
        ), 400, "create an endpoint without a url")

        three = [self.simple, self.advanced, self.failing]
        listed = self.endpoints()
        equal(uids(listed.content), sorted(three, reverse=True), "the endpoints, newest first")
        equal(listed.pagination.per_page, 20, "endpoints: per_page")
        equal(listed.pagination.has_next_page, False, "endpoints: has_next_page")
        equal(uids(self.endpoints(q="adv").content), [self.advanced], "the endpoints named `adv`")
        equal(uids(self.endpoints(owner_id="owner-2").content), [self.failing], "the endpoints of owner-2")
        equal(self.endpoints(owner_id="nobody").content, [], "the endpoints of nobody")
        page_through(
            lambda **page: get_endpoints.sync_detailed(self.id, client=self.client, **page),
            models.GetEndpointsDirection, three, "endpoints",
        )

        body = models.ModelsUpdateEndpoint(
            name="simple", url=self.receiver.url("/simple"), description="changed", owner_id="owner-1", http_timeout=7
        )
        changed = ok(update_endpoint.sync_detailed(self.id, self.simple, client=self.client, body=body), 202,
                     "update endpoint")
        equal(changed.description, "changed", "update endpoint: description")
        equal(changed.http_timeout, 7, "update endpoint: http_timeout")
        equal(changed.advanced_signatures, False, "update endpoint: advanced_signatures, which it does not name")
        equal([secret.value for secret in changed.secrets], [SIMPLE_SECRET], "update endpoint: secrets")

        Status = models.DatastoreEndpointStatus
        paused = ok(pause_endpoint.sync_detailed(self.id, self.advanced, client=self.client), 202, "pause")
        equal(paused.status, Status.PAUSED, "the status after pause")
        active = ok(activate_endpoint.sync_detailed(self.id, self.advanced, client=self.client), 202, "activate")
        equal(active.status, Status.ACTIVE, "the status after activate")
        refused(activate_endpoint.sync_detailed(self.id, self.advanced, client=self.client), 400, "activate again")
        # Pause is a switch: the second time it goes on.
        for expected in (Status.PAUSED, Status.ACTIVE):
            switched = ok(pause_endpoint.sync_detailed(self.id, self.advanced, client=self.client), 202, "pause")
            equal(switched.status, expected, "the status after pause")

        body = models.ModelsExpireSecret(expiration=1, secret="a-new-secret")
        rolled = ok(expire_secret.sync_detailed(self.id, self.advanced, client=self.client, body=body), 200,
                    "expire secret")
        expiry = {secret.value: secret.expires_at for secret in rolled.secrets}
        equal(sorted(expiry), ["a-given-secret", "a-new-secret"], "the secrets after one expires")
        assert expiry["a-given-secret"], "the old secret has no expires_at"
        assert not expiry["a-new-secret"], f"the new secret expires at {expiry['a-new-secret']}"

    def create_endpoint(self, name: str, owner_id: str = "owner-1", **more) -> str:
        body = models.ModelsCreateEndpoint(name=name, url=self.receiver.url(f"/{name}"), owner_id=owner_id, **more)
        made = ok(create_endpoint.sync_detailed(self.id, client=self.client, body=body), 201, "create endpoint")
        present(made, "endpoint", "uid", "project_id", "secrets", "status", "created_at", "updated_at")
        equal(made.name, name, "create endpoint: name")
        equal(made.url, body.url, "create endpoint: url")
        equal(made.owner_id, owner_id, "create endpoint: owner_id")
        equal(made.project_id, self.id, "create endpoint: project_id")
        equal(made.status, models.DatastoreEndpointStatus.ACTIVE, "create endpoint: status")
        equal(made.advanced_signatures, more.get("advanced_signatures", True), "create endpoint: advanced_signatures")
        equal(made.http_timeout, 10, "create endpoint: http_timeout")
        equal(made.content_type, "application/json", "create endpoint: content_type")
        equal(len(made.secrets), 1, "create endpoint: the number of secrets")
        equal(len(made.uid), 26, "create endpoint: the length of uid")
        return made.uid

    def endpoints(self, **query):
        return ok(get_endpoints.sync_detailed(self.id, client=self.client, **query), 200, "list endpoints")

    def create_subscriptions(self) -> None:
        step("create, read, list and change subscriptions")
        self.subscription = self.create_subscription("to-simple", self.simple, ["invoice.paid"])
        only_large = models.ModelsFS(body=models.DatastoreMType0.from_dict({"amount": {"$gte": 100}}))
        wrong = models.ModelsFS(body=models.DatastoreMType0.from_dict({"amount": {"$over": 100}}))
        said = refused(create_subscription.sync_detailed(
            self.id, client=self.client, body=self.subscription_body("to-advanced", self.advanced, ["*"], wrong)
        ), 400, "create a subscription with a wrong payload filter")
        assert "filter_config.filter.body.amount.$over" in said, f"a wrong filter is refused with {said!r}"
        made = ok(create_subscription.sync_detailed(
            self.id, client=self.client, body=self.subscription_body("to-large", self.advanced, ["*"], only_large)
        ), 201, "create a subscription with a payload filter")
        equal(made.filter_config.filter_.body.to_dict(), {"amount": {"$gte": 100}}, "the filter of a subscription")
        ok(delete_subscription.sync_detailed(self.id, made.uid, client=self.client), 200, "delete a filtered subscription")
        self.create_subscription("to-advanced", self.advanced, ["invoice.paid", "any.type"])
        self.create_subscription("to-failing", self.failing, ["invoice.paid", "invoice.failed"])

        found = ok(get_subscription.sync_detailed(self.id, self.subscription, client=self.client), 200,
                   "get subscription")
        equal(found.uid, self.subscription, "get subscription: uid")
        equal(found.endpoint_metadata.uid, self.simple, "get subscription: endpoint_metadata.uid")
        refused(get_subscription.sync_detailed(self.id, NO_SUCH_ID, client=self.client), 404,
                "get an unknown subscription")

        equal(len(self.subscriptions().content), 3, "the number of subscriptions")
        equal(uids(self.subscriptions(endpoint_id=[self.simple]).content), [self.subscription],
              "the subscriptions of one endpoint")
        equal(len(self.subscriptions(endpoint_id=[self.simple, self.failing]).content), 2,
              "the number of subscriptions of two endpoints")
        equal(uids(self.subscriptions(name="to-simple").content), [self.subscription], "the subscriptions by name")
        page_through(
            lambda **page: get_subscriptions.sync_detailed(self.id, client=self.client, **page),
            models.GetSubscriptionsDirection, uids(self.subscriptions().content), "subscriptions",
        )

        body = models.ModelsUpdateSubscription(
            name="to-simple-renamed", endpoint_id=self.simple,
            filter_config=models.ModelsFilterConfiguration(event_types=["invoice.paid", "invoice.failed"]),
        )
        changed = ok(update_subscription.sync_detailed(self.id, self.subscription, client=self.client, body=body), 202,
                     "update subscription")
        equal(changed.name, "to-simple-renamed", "update subscription: name")
        equal(sorted(changed.filter_config.event_types), ["invoice.failed", "invoice.paid"],
              "update subscription: event_types")
        ok(toggle_subscription_status.sync_detailed(self.id, self.subscription, client=self.client), 202,
           "toggle subscription")
        refused(create_subscription.sync_detailed(
            self.id, client=self.client, body=models.ModelsCreateSubscription(name="twice", endpoint_id=self.simple)
        ), 400, "create a second subscription of an endpoint")

    def subscription_body(self, name: str, endpoint: str, event_types: list[str], filter_=UNSET):
        return models.ModelsCreateSubscription(
            name=name, endpoint_id=endpoint, delivery_mode=models.DatastoreDeliveryMode.AT_LEAST_ONCE,
            filter_config=models.ModelsFilterConfiguration(event_types=event_types, filter_=filter_),
        )

    def create_subscription(self, name: str, endpoint: str, event_types: list[str]) -> str:
        body = self.subscription_body(name, endpoint, event_types)
        made = ok(create_subscription.sync_detailed(self.id, client=self.client, body=body), 201,
                  "create subscription")
        present(made, "subscription", "uid", "type_", "project_id", "created_at", "updated_at")
        equal(made.name, name, "create subscription: name")
        equal(made.filter_config.event_types, event_types, "create subscription: event_types")
        equal(made.delivery_mode, models.DatastoreDeliveryMode.AT_LEAST_ONCE, "create subscription: delivery_mode")
        equal(made.endpoint_metadata.uid, endpoint, "create subscription: endpoint_metadata.uid")
        return made.uid

    def subscriptions(self, **query):
        return ok(get_subscriptions.sync_detailed(self.id, client=self.client, **query), 200, "list subscriptions")

    # Events.

    def send(self, endpoint: str, event_type: str, data: dict, key: str, headers: dict | None = None) -> None:
        body = models.ModelsCreateEvent(
            endpoint_id=endpoint, event_type=event_type, idempotency_key=key,
            data=models.ModelsCreateEventDataType0.from_dict(data),
            custom_headers=models.ModelsCreateEventCustomHeadersType0.from_dict(headers) if headers else UNSET,
        )
        ok(create_endpoint_event.sync_detailed(self.id, client=self.client, body=body), 201, "create event")

    def fan_out(self, owner: str, event_type: str, data: dict, key: str) -> None:
        body = models.ModelsFanoutEvent(
            owner_id=owner, event_type=event_type, idempotency_key=key,
            data=models.ModelsFanoutEventDataType0.from_dict(data),
        )
        ok(create_endpoint_fanout_event.sync_detailed(self.id, client=self.client, body=body), 201, "fan out")

    def events(self, **query):
        return ok(get_events_paged.sync_detailed(self.id, client=self.client, **query), 200, "list events").content

    def event_by_key(self, key: str):
        """The one event with an idempotency key that is not a duplicate."""
        return wait_for(
            lambda: [event for event in self.events(idempotency_key=key) if not event.is_duplicate_event],
            f"the event with key {key}",
        )[0]

    def deliveries(self, **query):
        return ok(get_event_deliveries_paged.sync_detailed(self.id, client=self.client, **query), 200,
                  "list deliveries").content

    def delivery(self, uid: str):
        return ok(get_event_delivery.sync_detailed(self.id, uid, client=self.client), 200, "get delivery")

    def wait_for_delivery(self, event: str, endpoint: str, status: str):
        rows = wait_for(
            lambda: self.deliveries(event_id=event, endpoint_id=[endpoint], status=[status]),
            lambda: f"a delivery of {event} to {endpoint} with status {status}; there is "
            f"{[(row.endpoint_id, str(row.status)) for row in self.deliveries(event_id=event)]}",
        )
        equal(len(rows), 1, f"the number of deliveries of {event} to {endpoint}")
        return rows[0]


def directed_event(project: Outgoing) -> None:
    step("a directed event: sent, found, delivered once, signed simply")
    data = {"amount": 250, "note": "café ✓ <&>", "nested": {"z": [1, 2.5, None], "a": True}}
    key = "directed-1"
    for _ in range(2):
        # The second is a duplicate: accepted, listed, not delivered.
        project.send(project.simple, "invoice.paid", data, key, headers={"X-Tenant": "tenant-7"})

    received = project.receiver.wait("/simple", 1)[0]
    equal(received.body, compact(data), "the delivered body")
    equal(received.headers.get("content-type"), "application/json", "the delivered Content-Type")
    equal(received.headers.get("x-tenant"), "tenant-7", "the custom header")
    equal(received.headers.get("x-convoy-idempotency-key"), key, "the delivered idempotency key")
    assert "," not in received.signature, f"the simple signature is {received.signature}"
    verify(SIMPLE_SECRET, received)

    event = project.event_by_key(key)
    wait_for(lambda: len(project.events(idempotency_key=key)) == 2, "the duplicate in the list of events")
    equal(sorted(row.is_duplicate_event for row in project.events(idempotency_key=key)), [False, True],
          "is_duplicate_event of the two events with one key")
    event = ok(get_endpoint_event.sync_detailed(project.id, event.uid, client=project.client), 200, "get event")
    present(event, "event", "created_at", "updated_at", "acknowledged_at", "headers")
    equal(event.event_type, "invoice.paid", "event_type")
    equal(event.project_id, project.id, "event.project_id")
    equal(event.data.to_dict(), data, "event.data")
    equal(event.endpoints, [project.simple], "event.endpoints")
    equal(event.idempotency_key, key, "event.idempotency_key")
    equal({name.lower(): value for name, value in event.headers.to_dict().items()}.get("x-tenant"), ["tenant-7"],
          "event.headers")
    wait_for(
        lambda: ok(get_endpoint_event.sync_detailed(project.id, event.uid, client=project.client), 200, "get event")
        .status == models.DatastoreEventStatus.SUCCESS, "the event's status Success")
    refused(get_endpoint_event.sync_detailed(project.id, NO_SUCH_ID, client=project.client), 404,
            "get an unknown event")

    row = project.wait_for_delivery(event.uid, project.simple, "Success")
    equal(project.deliveries(event_id=event.uid, status=["Failure", "Retry", "Discarded"]), [],
          "the deliveries of a delivered event with another status")
    delivery = project.delivery(row.uid)
    present(delivery, "delivery", "created_at", "updated_at", "acknowledged_at", "latency_seconds", "subscription_id")
    equal(delivery.uid, row.uid, "delivery.uid")
    equal(delivery.event_id, event.uid, "delivery.event_id")
    equal(delivery.endpoint_id, project.simple, "delivery.endpoint_id")
    equal(delivery.subscription_id, project.subscription, "delivery.subscription_id")
    equal(delivery.event_type, "invoice.paid", "delivery.event_type")
    equal(delivery.idempotency_key, key, "delivery.idempotency_key")
    equal(delivery.status, models.DatastoreEventDeliveryStatus.SUCCESS, "delivery.status")
    equal(delivery.delivery_mode, models.DatastoreDeliveryMode.AT_LEAST_ONCE, "delivery.delivery_mode")
    equal(delivery.target_url, project.receiver.url("/simple"), "delivery.target_url")
    equal(delivery.metadata.num_trials, 1, "delivery.metadata.num_trials")
    equal(delivery.metadata.retry_limit, 2, "delivery.metadata.retry_limit")
    equal(delivery.metadata.interval_seconds, 1, "delivery.metadata.interval_seconds")
    equal(delivery.metadata.strategy, models.DatastoreStrategyProvider.LINEAR, "delivery.metadata.strategy")
    equal(delivery.endpoint_metadata.uid, project.simple, "delivery.endpoint_metadata.uid")
    refused(get_event_delivery.sync_detailed(project.id, NO_SUCH_ID, client=project.client), 404,
            "get an unknown delivery")
    for query in (
        {"idempotency_key": key}, {"subscription_id": project.subscription}, {"event_type": "invoice.paid"},
        {"endpoint_id": [project.simple, project.advanced]},
    ):
        assert row.uid in uids(project.deliveries(**query)), f"the delivery is not listed with {query}"
    equal(project.deliveries(event_type="no.such.type"), [], "the deliveries of an unknown event type")
    assert row.uid not in uids(project.deliveries(endpoint_id=[project.advanced])), "a delivery of another endpoint"

    attempts = ok(get_delivery_attempts.sync_detailed(project.id, row.uid, client=project.client), 200, "attempts")
    equal(len(attempts), 1, "the number of attempts")
    attempt = ok(get_delivery_attempt.sync_detailed(project.id, row.uid, attempts[0].uid, client=project.client), 200,
                 "get attempt")
    present(attempt, "attempt", "created_at", "requested_at", "responded_at", "request_http_header")
    equal(attempt.uid, attempts[0].uid, "attempt.uid")
    equal(attempt.msg_id, row.uid, "attempt.msg_id")
    equal(attempt.endpoint_id, project.simple, "attempt.endpoint_id")
    equal(attempt.url, project.receiver.url("/simple"), "attempt.url")
    equal(attempt.method, "POST", "attempt.method")
    equal(attempt.http_status, "200 OK", "attempt.http_status")
    equal(attempt.response_data, "ok", "attempt.response_data")
    equal(attempt.status, True, "attempt.status")
    refused(get_delivery_attempt.sync_detailed(project.id, row.uid, NO_SUCH_ID, client=project.client), 404,
            "get an unknown attempt")
    refused(resend_event_delivery.sync_detailed(project.id, row.uid, client=project.client), 400,
            "resend what was delivered")

    now = datetime.datetime.now(datetime.timezone.utc)
    hours = lambda count: (now + datetime.timedelta(hours=count)).strftime("%Y-%m-%dT%H:%M:%S")
    for dates, expected in (
        ({"start_date": hours(-1), "end_date": hours(1)}, True),
        ({"start_date": hours(-48), "end_date": hours(-24)}, False),
    ):
        equal(event.uid in uids(project.events(**dates)), expected, f"the event is listed with {dates}")
        equal(row.uid in uids(project.deliveries(**dates)), expected, f"the delivery is listed with {dates}")
    assert event.uid in uids(project.events(endpoint_id=[project.simple])), "the event is not listed by endpoint"
    assert event.uid not in uids(project.events(endpoint_id=[project.failing])), "an event of another endpoint"
    refused(get_events_paged.sync_detailed(project.id, client=project.client, start_date="yesterday"), 400,
            "list events from a date that is none")

    bad = models.ModelsCreateEvent(endpoint_id=NO_SUCH_ID, event_type="invoice.paid", data=models.
                                   ModelsCreateEventDataType0.from_dict({"a": 1}))
    reply = create_endpoint_event.sync_detailed(project.id, client=project.client, body=bad)
    assert int(reply.status_code) in (400, 404), f"an event to an unknown endpoint: {reply.status_code}"
    refused(reply, int(reply.status_code), "create an event to an unknown endpoint")
    equal(len(project.receiver.at("/simple")), 1, "the number of requests to /simple after all this")


def fan_out(project: Outgoing) -> None:
    step("fan-out events: to all endpoints of an owner that want their type, signed with both live secrets")
    before = len(project.receiver.at("/simple")), len(project.receiver.at("/advanced"))
    small, large = {"amount": 5, "name": "small"}, {"amount": 100, "name": "large"}
    # Only /simple wants this type; both want the other.
    project.fan_out("owner-1", "invoice.failed", small, "fan-out-small")
    project.fan_out("owner-1", "invoice.paid", large, "fan-out-large")
    project.fan_out("owner-1", "invoice.paid", large, "fan-out-large")

    bodies = [one.body for one in project.receiver.wait("/simple", before[0] + 2)[before[0]:]]
    equal(sorted(bodies), sorted([compact(small), compact(large)]), "what /simple got")
    received = project.receiver.wait("/advanced", before[1] + 1)[-1]
    equal(received.body, compact(large), "what /advanced got")
    assert received.signature.startswith("t="), f"the advanced signature is {received.signature}"
    equal(received.signature.count(",v1="), 2, "the number of signatures with two live secrets")
    verify(GIVEN_SECRET, received)
    verify("a-new-secret", received)

    event = project.event_by_key("fan-out-large")
    for endpoint in (project.simple, project.advanced):
        project.wait_for_delivery(event.uid, endpoint, "Success")
    equal(len(project.deliveries(event_id=event.uid)), 2, "the number of deliveries of the large event")
    event = project.event_by_key("fan-out-small")
    project.wait_for_delivery(event.uid, project.simple, "Success")
    equal(len(project.deliveries(event_id=event.uid)), 1, "the number of deliveries of the small event")

    every = wait_for(lambda: len(project.events()) >= 3 and uids(project.events()), "all events in the list")
    page_through(
        lambda **page: get_events_paged.sync_detailed(project.id, client=project.client, **page),
        models.GetEventsPagedDirection, every, "events",
    )
    page_through(
        lambda **page: get_event_deliveries_paged.sync_detailed(project.id, client=project.client, **page),
        models.GetEventDeliveriesPagedDirection, uids(project.deliveries()), "deliveries",
    )


def failing_delivery(project: Outgoing) -> None:
    step("a delivery that fails, is resent and arrives")
    data = {"amount": 1}
    project.send(project.failing, "invoice.failed", data, "failing-1")
    event = project.event_by_key("failing-1")
    row = project.wait_for_delivery(event.uid, project.failing, "Failure")
    project.receiver.wait("/failing", 2)
    equal(row.description, "Retry limit exceeded", "the description of a failed delivery")
    equal(row.metadata.num_trials, 2, "num_trials of a failed delivery")
    assert row.uid in uids(project.deliveries(status=["Failure", "Retry"])), "the delivery is not listed by statuses"
    attempts = ok(get_delivery_attempts.sync_detailed(project.id, row.uid, client=project.client), 200, "attempts")
    equal([one.status for one in attempts], [False, False], "the status of the attempts")
    equal({one.http_status for one in attempts}, {"500 Internal Server Error"}, "the http_status of the attempts")
    equal({one.response_data for one in attempts}, {"not now"}, "the response_data of the attempts")

    project.receiver.failing.discard("/failing")
    resent = ok(resend_event_delivery.sync_detailed(project.id, row.uid, client=project.client), 200, "resend")
    equal(resent.uid, row.uid, "resend: uid")
    project.wait_for_delivery(event.uid, project.failing, "Success")
    received = project.receiver.wait("/failing", 3)
    equal({one.body for one in received}, {compact(data)}, "the bodies of all attempts")
    equal(project.delivery(row.uid).metadata.num_trials, 3, "num_trials after the resend")
    attempts = ok(get_delivery_attempts.sync_detailed(project.id, row.uid, client=project.client), 200, "attempts")
    equal(sorted(one.status for one in attempts), [False, False, True], "the status of the attempts")
    secret = ok(get_endpoint.sync_detailed(project.id, project.failing, client=project.client), 200, "get endpoint")
    for one in received:
        verify(secret.secrets[0].value, one)


def signature_versions_changed(project: Outgoing) -> None:
    step("a project that signs in two versions")
    body = models.ModelsUpdateProject(name="client-1.0.0a1-renamed", config=models.ModelsProjectConfig(
        signature=signature_versions("SHA256", "hex", "SHA512", "base64")
    ))
    ok(update_project.sync_detailed(project.id, client=project.admin, body=body), 202, "update project")
    before = len(project.receiver.at("/advanced"))
    project.send(project.advanced, "any.type", {"amount": 1000}, "two-versions")
    received = project.receiver.wait("/advanced", before + 1)[-1]
    verify("a-new-secret", received)
    verify("a-new-secret", received, encoding="base64", hash="sha512")


def broadcast(project: Outgoing) -> None:
    step("a broadcast event")
    paths = ("/simple", "/advanced", "/failing")
    project.receiver.failing.discard("/failing")
    before = [len(project.receiver.at(path)) for path in paths]
    data = {"amount": 101, "kind": "broadcast"}
    body = models.ModelsBroadcastEvent(
        event_type="invoice.paid", idempotency_key="broadcast-1",
        data=models.ModelsBroadcastEventDataType0.from_dict(data),
    )
    ok(create_broadcast_event.sync_detailed(project.id, client=project.client, body=body), 201, "broadcast")
    for path, count in zip(paths, before):
        equal(project.receiver.wait(path, count + 1)[-1].body, compact(data), f"what {path} got")


def dynamic(project: Outgoing) -> None:
    step("a dynamic event")
    url = project.receiver.url("/dynamic")
    body = models.ModelsDynamicEvent(
        url=url, secret="a-dynamic-secret", event_type="any.type", event_types=["any.type"],
        idempotency_key="dynamic-1", data=models.ModelsDynamicEventDataType0.from_dict({"a": 1}),
    )
    ok(create_dynamic_event.sync_detailed(project.id, client=project.client, body=body), 201, "dynamic event")
    verify("a-dynamic-secret", project.receiver.wait("/dynamic", 1)[0])
    wait_for(lambda: url in [row.url for row in project.endpoints().content], "the endpoint of the dynamic event")


def again(project: Outgoing) -> None:
    step("a delivered event again: replay and forced resend")
    before = len(project.receiver.at("/simple"))
    project.send(project.simple, "invoice.paid", {"again": True}, "again-1")
    project.receiver.wait("/simple", before + 1)
    event = project.event_by_key("again-1")
    delivery = project.wait_for_delivery(event.uid, project.simple, "Success")
    body = models.ModelsIDs(ids=[delivery.uid])
    ok(force_resend_event_deliveries.sync_detailed(project.id, client=project.client, body=body), 200, "force resend")
    project.receiver.wait("/simple", before + 2)
    replayed = ok(replay_endpoint_event.sync_detailed(project.id, event.uid, client=project.client), 200, "replay")
    equal(replayed.uid, event.uid, "replay: uid")
    equal({one.body for one in project.receiver.wait("/simple", before + 3)[before:]}, {b'{"again":true}'},
          "what /simple got")


def event_types(project: Outgoing) -> None:
    step("the catalogue of event types")

    def known() -> dict:
        rows = ok(get_event_types.sync_detailed(project.id, client=project.client), 200, "list event types")
        return {row.name: row for row in rows}

    equal(list(known()), ["*"], "the event types of a new project")
    schema = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}}
    body = models.ModelsCreateEventType(
        name="invoice.paid", category="billing", description="An invoice was paid",
        json_schema=models.ModelsCreateEventTypeJsonSchemaType0.from_dict(schema),
    )
    made = ok(create_event_type.sync_detailed(project.id, client=project.client, body=body), 201, "create event type")
    equal((made.name, made.category, made.description, made.deprecated_at),
          ("invoice.paid", "billing", "An invoice was paid", None), "the event type")
    equal(made.json_schema.to_dict(), schema, "event type: json_schema")
    refused(create_event_type.sync_detailed(project.id, client=project.client, body=body), 400,
            "create the same event type again")
    bad = models.ModelsCreateEventType(
        name="bad", json_schema=models.ModelsCreateEventTypeJsonSchemaType0.from_dict({"type": "nothing"}))
    refused(create_event_type.sync_detailed(project.id, client=project.client, body=bad), 400, "a bad schema")
    change = models.ModelsUpdateEventType(category="money", description="Paid")
    changed = ok(update_event_type.sync_detailed(project.id, made.uid, client=project.client, body=change), 201,
                 "update event type")
    equal((changed.uid, changed.name, changed.category, changed.description),
          (made.uid, "invoice.paid", "money", "Paid"), "the changed event type")
    ended = ok(deprecate_event_type.sync_detailed(project.id, made.uid, client=project.client), 201,
               "deprecate event type")
    assert ended.deprecated_at, f"a deprecated event type has no time: {ended}"
    spec = """
openapi: 3.1.0
webhooks:
  order.placed:
    post: {requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Order'}}}}}
components: {schemas: {Order: {type: object, required: [id]}}}
"""
    body = models.ModelsImportOpenAPISpec(spec=spec)
    ok(import_open_api_spec.sync_detailed(project.id, client=project.client, body=body), 200, "import event types")
    equal(sorted(known()), ["*", "invoice.paid", "order.placed"], "the event types")
    project.send(project.simple, "invoice.paid", {"amount": "not checked unless the project says so"}, "types-1")
    project.event_by_key("types-1")


def incoming(project: Outgoing) -> None:
    """An incoming project beside the outgoing one, with a source that checks an HMAC, one that wants a key and finds
    the event type in a header, and one of GitHub's."""
    step("an incoming project with sources")
    receiver, root = project.receiver, project.given["root"]
    body = models.ModelsCreateProject(name="client-1.0.0a1-incoming", type_="incoming", config=quick_retries())
    made = ok(create_project.sync_detailed(client=project.admin, body=body, org_id=project.org_id), 201,
              "create project")
    equal(made.project.type_, models.DatastoreProjectType.INCOMING, "project.type")
    project_id, client = made.project.uid, connect(root, made.api_key.key)
    reply = get_endpoints.sync_detailed(project_id, client=project.client)
    assert int(reply.status_code) in (401, 404), f"a project read with another project's key: {reply.content!r}"
    refused(reply, int(reply.status_code), "list endpoints with another project's key")

    Encoding, SourceType = models.DatastoreEncodingType, models.DatastoreSourceType

    def verifier(header: str, secret: str):
        return models.ModelsVerifierConfig(
            type_=models.DatastoreVerifierType.HMAC,
            hmac=models.ModelsHMac(encoding=Encoding.HEX, hash_="SHA256", header=header, secret=secret),
        )

    def make_source(body):
        source = ok(create_source.sync_detailed(project_id, client=client, body=body), 201, "create source")
        present(source, "source", "uid", "mask_id", "url", "custom_response", "is_disabled", "created_at")
        equal(source.name, body.name, "create source: name")
        equal(source.type_, SourceType.HTTP, "create source: type")
        equal(source.project_id, project_id, "create source: project_id")
        assert source.url.endswith(f"/ingest/{source.mask_id}"), f"source.url is {source.url}"
        return source

    plain = make_source(models.ModelsCreateSource(
        name="plain", type_=SourceType.HTTP, verifier=verifier("X-Signature", "hmac-secret"),
    ))
    equal(plain.provider, models.DatastoreSourceProvider(""), "source.provider")
    equal(plain.verifier.type_, models.DatastoreVerifierType.HMAC, "source.verifier.type")
    equal(plain.verifier.hmac.header, "X-Signature", "source.verifier.hmac.header")
    for told in ({"idempotency_keys": ["request.body.id"]}, {"event_type_location": "request.body.kind"}):
        source = make_source(models.ModelsCreateSource(
            name="told", type_=SourceType.HTTP, verifier=verifier("X-Signature", "hmac-secret"), **told,
        ))
        for name, value in told.items():
            equal(getattr(source, name), value, f"source.{name}")
        ok(delete_source.sync_detailed(project_id, source.uid, client=client), 200, "delete source")

    def api_key(value: str):
        return models.ModelsVerifierConfig(
            type_=models.DatastoreVerifierType.API_KEY,
            api_key=models.ModelsApiKey(header_name="X-Key", header_value=value),
        )

    keyed = make_source(models.ModelsCreateSource(
        name="keyed", type_=SourceType.HTTP, verifier=api_key("api-key-secret"),
        event_type_location="request.header.X-Kind",
    ))
    equal(keyed.verifier.type_, models.DatastoreVerifierType.API_KEY, "source.verifier.type")
    equal(keyed.verifier.api_key.header_name, "X-Key", "source.verifier.api_key.header_name")
    equal(keyed.event_type_location, "request.header.X-Kind", "source.event_type_location")
    github = make_source(models.ModelsCreateSource(
        name="github", type_=SourceType.HTTP, provider=models.DatastoreSourceProvider.GITHUB,
        verifier=verifier("X-Hub-Signature-256", "github-secret"),
    ))
    equal(github.provider, models.DatastoreSourceProvider.GITHUB, "source.provider")

    def sources(**query):
        return ok(load_sources_paged.sync_detailed(project_id, client=client, **query), 200, "list sources").content

    found = ok(get_source.sync_detailed(project_id, plain.uid, client=client), 200, "get source")
    equal((found.uid, found.mask_id), (plain.uid, plain.mask_id), "get source: uid and mask_id")
    refused(get_source.sync_detailed(project_id, NO_SUCH_ID, client=client), 404, "get an unknown source")
    every = [plain.uid, keyed.uid, github.uid]
    equal(uids(sources()), sorted(every, reverse=True), "the sources, newest first")
    equal(uids(sources(provider="github")), [github.uid], "the sources of GitHub")
    equal(len(sources(type_="http")), 3, "the number of http sources")
    page_through(lambda **page: load_sources_paged.sync_detailed(project_id, client=client, **page),
                 models.LoadSourcesPagedDirection, every, "sources")
    body = models.ModelsUpdateSource(
        name="plain-renamed", type_=SourceType.HTTP, verifier=verifier("X-Signature", "hmac-secret"),
        is_disabled=False,
    )
    changed = ok(update_source.sync_detailed(project_id, plain.uid, client=client, body=body), 202, "update source")
    equal((changed.name, changed.mask_id), ("plain-renamed", plain.mask_id), "update source: name and mask_id")

    step("incoming events: verified, delivered once, as they came")
    secrets = {}
    for source, path in ((plain, "/from-plain"), (keyed, "/from-keyed"), (github, "/from-github")):
        body = models.ModelsCreateEndpoint(name=path[1:], url=receiver.url(path))
        endpoint = ok(create_endpoint.sync_detailed(project_id, client=client, body=body), 201, "create endpoint")
        secrets[path] = endpoint.secrets[0].value
        body = models.ModelsCreateSubscription(name=path[1:], endpoint_id=endpoint.uid, source_id=source.uid)
        subscription = ok(create_subscription.sync_detailed(project_id, client=client, body=body), 201,
                          "create subscription")
        equal(subscription.source_metadata.uid, source.uid, "subscription.source_metadata.uid")
        equal(subscription.filter_config.event_types, ["*"], "the event types of a subscription that names none")
    refused(create_subscription.sync_detailed(
        project_id, client=client, body=models.ModelsCreateSubscription(name="x", endpoint_id=endpoint.uid)
    ), 400, "create a subscription without a source in an incoming project")

    sent = b'{ "id": "evt-1",\n  "kind": "order.placed" }'
    ingest = f"{root}/ingest/{plain.mask_id}"
    headers = {"Content-Type": "application/json", "X-Signature": hmac_hex("hmac-secret", sent)}
    status, reply = post(ingest, sent, headers | {"X-Signature": hmac_hex("wrong", sent)})
    assert 400 <= status < 500 and reply["status"] is False, f"a wrong signature got {status} {reply}"
    status, reply = post(ingest, sent, headers)
    equal((status, reply["status"]), (200, True), "the reply to an incoming event")
    with_key = {"Content-Type": "application/json", "X-Key": "api-key-secret", "X-Kind": "order.placed"}
    status, reply = post(f"{root}/ingest/{keyed.mask_id}", sent, with_key | {"X-Key": "wrong"})
    assert 400 <= status < 500 and reply["status"] is False, f"a wrong key got {status} {reply}"
    status, reply = post(f"{root}/ingest/{keyed.mask_id}", sent, with_key)
    equal((status, reply["status"]), (200, True), "the reply to an event with a key")
    hook = b'{"action":"opened","number":7}'
    status, reply = post(f"{root}/ingest/{github.mask_id}", hook, {
        "Content-Type": "application/json", "X-GitHub-Event": "pull_request",
        "X-Hub-Signature-256": f"sha256={hmac_hex('github-secret', hook)}",
    })
    equal((status, reply["status"]), (200, True), "the reply to an event of GitHub")

    for path, expected in (("/from-plain", sent), ("/from-keyed", sent), ("/from-github", hook)):
        received = receiver.wait(path, 1)[0]
        equal(received.body, expected, f"what {path} got")
        verify(secrets[path], received)

    # Nothing says what an event of the first one is, so it has the mask for its type.
    for source, event_type in ((plain, plain.mask_id), (keyed, "order.placed"), (github, "pull_request")):
        rows = wait_for(
            lambda: [row for row in ok(get_events_paged.sync_detailed(project_id, client=client,
                                                                      source_id=[source.uid]), 200, "list events")
                     .content if not row.is_duplicate_event], f"the events of {source.name}")
        equal(len(rows), 1, f"the number of events of {source.name}")
        event = ok(get_endpoint_event.sync_detailed(project_id, rows[0].uid, client=client), 200, "get event")
        equal(event.source_id, source.uid, "event.source_id")
        equal(event.event_type, event_type, f"the event type of {source.name}")
        wait_for(lambda: ok(get_event_deliveries_paged.sync_detailed(
            project_id, client=client, event_id=event.uid, status=["Success"]), 200, "list deliveries").content,
            f"the delivery of the event of {source.name}")

    step("delete the sources and the incoming project")
    ok(delete_source.sync_detailed(project_id, plain.uid, client=client), 200, "delete source")
    refused(get_source.sync_detailed(project_id, plain.uid, client=client), 404, "get a deleted source")
    status, _ = post(ingest, sent, headers)
    equal(status, 404, "the status of an event to a deleted source")
    ok(delete_project.sync_detailed(project_id, client=project.admin), 200, "delete project")
    refused(get_project.sync_detailed(project_id, client=project.admin), 404, "get a deleted project")


def deleting(project: Outgoing) -> None:
    step("delete a subscription, an endpoint with its subscription, and the project")
    ids = {row.endpoint_metadata.uid: row.uid for row in project.subscriptions().content if row.endpoint_metadata}
    ok(delete_subscription.sync_detailed(project.id, project.subscription, client=project.client), 200,
       "delete subscription")
    refused(get_subscription.sync_detailed(project.id, project.subscription, client=project.client), 404,
            "get a deleted subscription")
    ok(delete_endpoint.sync_detailed(project.id, project.failing, client=project.client), 200, "delete endpoint")
    refused(get_endpoint.sync_detailed(project.id, project.failing, client=project.client), 404,
            "get a deleted endpoint")
    refused(get_subscription.sync_detailed(project.id, ids[project.failing], client=project.client), 404,
            "get the subscription of a deleted endpoint")
    assert project.failing not in uids(project.endpoints().content), "a deleted endpoint is listed"
    ok(delete_project.sync_detailed(project.id, client=project.admin), 200, "delete project")
    refused(get_project.sync_detailed(project.id, client=project.admin), 404, "get a deleted project")
    refused(get_endpoints.sync_detailed(project.id, client=project.client), 401, "use the key of a deleted project")


# --- Small things ------------------------------------------------------------------------------------------------


def connect(root: str, key: str) -> AuthenticatedClient:
    # By default the client has no timeout at all, and returns nothing for a status code it does not know.
    return AuthenticatedClient(
        base_url=f"{root}/api", token=key, timeout=httpx.Timeout(30), raise_on_unexpected_status=True
    )


def quick_retries(signature=UNSET):
    strategy = models.ModelsStrategyConfiguration(type_="linear", duration=1, retry_count=2)
    return models.ModelsProjectConfig(strategy=strategy, signature=signature)


def signature_versions(*hash_and_encoding: str):
    pairs = zip(hash_and_encoding[::2], hash_and_encoding[1::2])
    return models.ModelsSignatureConfiguration(
        header=models.ConfigSignatureHeaderProvider.X_CONVOY_SIGNATURE,
        versions=[models.ModelsSignatureVersion(hash_=hash_, encoding=encoding) for hash_, encoding in pairs],
    )


def verify(secret: str, received, **kind: str) -> None:
    """Verifies a delivery with the client's own verifier, which must also refuse what is not right."""
    body, signature = received.body.decode(), received.signature
    assert Webhook(secret=secret, **kind).verify_signature(body, signature) is True, \
        f"the signature {signature} of {body} at {received.path} does not verify with {secret!r}"
    assert Webhook(secret=secret, **kind).verify_signature(body + " ", signature) is False, "a changed body verifies"
    assert Webhook(secret="wrong", **kind).verify_signature(body, signature) is False, "a wrong secret verifies"


def main() -> None:
    given = settings()
    project = Outgoing(given, Receiver())
    for part in (
        directed_event, fan_out, failing_delivery, signature_versions_changed, broadcast, dynamic, again, event_types,
        incoming, deleting,
    ):
        if part.__name__ in given.get("skip", []):
            step(f"SKIPPED: {part.__name__}")
        else:
            part(project)
    print("ok")


if __name__ == "__main__":
    main()
