"""How a schema registry is entered and asked, without a broker and without Spark."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient

from devtools.services.http import serving
from devtools.services.process import free_port
from devtools.services.schema_registry import SchemaRegistry
from devtools.services.schema_registry_front import front_of
from pipeline_platform.connectors.kafka.avro_values import RegisteredSchema
from pipeline_platform.connectors.kafka.registry import Registry
from pipeline_platform.connectors.kafka.registry_schemas import RegistrySchemas, schemas_of, understood
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException

Json = dict[str, Any]
LOGIN = "reader:p:w/ é"


def record(name: str, *fields: Json) -> str:
    return json.dumps({"type": "record", "name": name, "namespace": "shop", "fields": fields})


def decimal(precision: int, scale: int) -> Json:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


def entered(url: str, **properties: str) -> Registry:
    named = {name.replace("_", "."): value for name, value in properties.items()}
    return Registry.enter({"schema.registry.url": url, **{f"schema.registry.{key}": v for key, v in named.items()}})


@pytest.fixture(scope="session")
def client(schema_registry: SchemaRegistry) -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": schema_registry.url})


def test_a_schema_has_in_it_those_that_it_refers_to_each_once(
    schema_registry: SchemaRegistry, client: SchemaRegistryClient
):
    place = record("Place", {"name": "city", "type": "string"})
    person = record("Person", {"name": "name", "type": "string"}, {"name": "home", "type": "Place"})
    order = record(
        "Order",
        {"name": "buyer", "type": ["null", "shop.Person"], "default": None},
        {"name": "to", "type": "shop.Place", "aliases": ["dest"]},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    )
    of_place = SchemaReference("shop.Place", "place", 1)
    client.register_schema("place", Schema(place, "AVRO"))
    client.register_schema("person", Schema(person, "AVRO", [of_place]))
    references = [SchemaReference("shop.Person", "person", 1), of_place]
    client.register_schema("order-value", Schema(order, "AVRO", references))
    found = entered(schema_registry.url).latest("order-value")
    value: Json = {"buyer": {"name": "a", "home": {"city": "b"}}, "to": {"city": "c"}, "price": b"\1"}
    out = io.BytesIO()
    apart = [json.loads(text) for text in (place, person, order)]
    named: Json = {}
    parsed = [fastavro.parse_schema(schema, named) for schema in apart][-1]
    fastavro.schemaless_writer(out, parsed, value)
    out.seek(0)
    whole = json.loads(found.schema)
    assert fastavro.schemaless_reader(out, fastavro.parse_schema(whole)) == fastavro.schemaless_reader(
        io.BytesIO(out.getvalue()), parsed
    )
    assert (whole["fields"][1]["aliases"], whole["fields"][2]["type"]["scale"]) == (["dest"], 2)


@pytest.mark.parametrize("kind", ["user and password", "token"])
def test_a_registry_is_entered_with_a_login_and_the_certificate_of_who_signed_for_it(
    schema_registry: SchemaRegistry, client: SchemaRegistryClient, kind: str
):
    client.register_schema("guarded", Schema(record("G", {"name": "a", "type": "int"}), "AVRO"))
    basic = "Basic " + base64.b64encode(LOGIN.encode()).decode()
    login = {"basic_auth_user_info": LOGIN} if kind != "token" else {"bearer_auth_token": "t0ken"}
    wrong = {name: f"{value}?" for name, value in login.items()}
    with front_of(schema_registry, {basic, "Bearer t0ken"}) as front:
        trust = {"ssl_truststore_certificates": front.authority}
        assert "shop" in entered(front.url, **login, **trust).latest("guarded").schema
        with pytest.raises(PipelineException, match=r"refuses the login \(HTTP 401\)") as raised:
            entered(front.url, **wrong, **trust).latest("guarded")
        assert not any(value in str(raised.value) for value in wrong.values())
        with pytest.raises(PipelineException, match=r"(?s)is not trusted: .*next: give the certificate"):
            entered(front.url, **login).latest("guarded")


MISTAKES: list[tuple[Json, str]] = [
    ({"url": ""}, "nothing says where the schema registry is"),
    ({"url": "localhost:1"}, "'schema.registry.url' is no URL"),
    ({"ssl_keystore_location": "k"}, "can't be entered with 'schema.registry.ssl.keystore.location'"),
    ({"basic_auth_user_info": "secret-word"}, "'schema.registry.basic.auth.user.info' is not of the form"),
    ({"ssl_truststore_type": "JKS"}, "'schema.registry.ssl.truststore.type' is not PEM"),
]


@pytest.mark.parametrize(("properties", "told"), MISTAKES, ids=lambda value: str(value)[:30])
def test_what_a_registry_can_t_be_entered_with_is_told_without_its_value(properties: Json, told: str):
    with pytest.raises(PipelineConfigurationException, match=re.escape(told)) as raised:
        entered(**{"url": "http://localhost:1", **properties})
    assert "secret-word" not in str(raised.value)


def test_a_registry_that_is_away_or_none_is_told_and_only_the_first_is_worth_another_attempt(
    schema_registry: SchemaRegistry,
):
    away = entered(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(PipelineException, match=r"(?s)can't be asked: .*refused.*next: check the URL") as raised:
        away.latest("any")
    assert raised.value.retryable
    for url, told in (
        (schema_registry.url.replace("ccompat", "nothing"), "next: check the URL of the registry, also its path"),
        (schema_registry.url, "there is no subject any in the schema registry"),
    ):
        with pytest.raises(PipelineException, match=f"(?s){told}") as raised:
            entered(url).latest("any")
        assert not raised.value.retryable


@contextmanager
def answering(status: int, body: bytes) -> Generator[str]:
    """What gives this answer to every question."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/login")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the same

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as url:
        yield url


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b'{"a": 1}'), (200, b"[1, 2]"), (200, b"null"), (200, b"<html>"), (200, b'["a"]'), (200, b""), (302, b"")],
    ids=str,
)
def test_what_answers_and_is_no_registry_is_called_so_whatever_it_is_asked(status: int, body: bytes):
    schema = record("A", {"name": "a", "type": "int"})
    with answering(status, body) as url:
        registry = entered(url)
        asked: list[Callable[[], Any]] = [
            lambda: registry.latest("s"),
            lambda: registry.version("s", 1),
            lambda: registry.schema(7),
            lambda: registry.accepts("s", schema),
            lambda: registry.registered("s", schema),
            lambda: registry.register("s", schema),
            *([lambda: registry.ids("s")] if body != b"[1, 2]" else []),
        ]
        for ask in asked:
            with pytest.raises(PipelineException, match=r"(?s)the schema registry at \S+ is none: .*next: ") as raised:
                ask()
            assert not raised.value.retryable


def test_a_version_that_is_missing_is_told_with_those_that_are_there(
    schema_registry: SchemaRegistry, client: SchemaRegistryClient
):
    for name in ("a", "b"):
        field = {"name": name, "type": ["null", "int"], "default": None}
        client.register_schema("versions", Schema(record("V", field), "AVRO"))
    with pytest.raises(PipelineException, match=r"the subject versions .* has no version 9; it has 1, 2"):
        entered(schema_registry.url).version("versions", 9)
    with pytest.raises(PipelineException, match="there is no subject nobody in the schema registry"):
        entered(schema_registry.url).version("nobody", 9)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (decimal(50, 2), "'x' is decimal(50,2), and no column has more than 38 digits"),
        (["null", "Strange"], "'x' is the record shop.Strange, which contains itself, and no column does"),
    ],
    ids=str,
)
def test_a_schema_that_spark_has_no_columns_for_is_told_with_its_subject_and_its_field(
    schema_registry: SchemaRegistry, client: SchemaRegistryClient, wrong: Any, told: str
):
    subject = f"strange-{len(told)}"
    found = client.register_schema(subject, Schema(record("Strange", {"name": "x", "type": wrong}), "AVRO"))
    schemas = schemas_of(entered(schema_registry.url), [subject], None, None)
    with pytest.raises(PipelineConfigurationException, match=re.escape(f"with schema {found} of {subject}, at ")) as no:
        understood(schemas)
    assert told in str(no.value)


def test_a_writer_whose_decimals_have_another_scale_is_refused_though_the_registry_calls_it_compatible(
    schema_registry: SchemaRegistry, client: SchemaRegistryClient
):
    old, new = (record("Scale", {"name": "price", "type": decimal(10, scale)}) for scale in (2, 4))
    ids = [client.register_schema("scales", Schema(schema, "AVRO")) for schema in (old, new)]
    schemas = understood(schemas_of(entered(schema_registry.url), ["scales"], None, None))
    assert list(schemas.writers) == ids[1:]
    assert schemas.refused == {
        ids[0]: f"written with schema {ids[0]}, which can't be read as the wanted one: "
        "'price' was written as decimal(10,2), and is wanted as decimal(10,4)"
    }
    written = RegisteredSchema({"schema.registry.url": schema_registry.url}, "scales", True, old.replace("10", "9"))
    for ask in (written.require_accepted, written.id):
        with pytest.raises(PipelineException, match=r"'price' was written as decimal\(10,4\)"):
            ask()
    assert client.get_versions("scales") == [1, 2]
    # Who knows what readers do has registered it.
    assert RegisteredSchema(written.properties, "scales", True, old).id() == ids[0]


def test_a_version_that_is_registered_while_the_others_are_asked_for_is_what_values_become(
    schema_registry: SchemaRegistry, client: SchemaRegistryClient
):
    old, new = (Schema(record("Busy", {"name": "x", "type": kind}), "AVRO") for kind in ("int", "long"))

    class Busy(Registry):
        def ids(self, subject: str) -> list[int]:
            found = super().ids(subject)
            client.register_schema(subject, new)
            return found

    first = client.register_schema("busy", old)
    schemas = schemas_of(Busy.enter({"schema.registry.url": schema_registry.url}), ["busy"], None, None)
    assert json.loads(schemas.reader)["fields"][0]["type"] == "long"
    assert sorted(schemas.writers) == [first, client.register_schema("busy", new)]


def test_too_many_ids_that_no_registry_has_say_that_it_may_be_another_one(
    schema_registry: SchemaRegistry, client: SchemaRegistryClient
):
    client.register_schema("few", Schema(record("F", {"name": "a", "type": "int"}), "AVRO"))
    schemas = schemas_of(entered(schema_registry.url), ["few"], None, None)
    refused = dict.fromkeys(range(10**6, 10**6 + 20), "unknown")
    many = RegistrySchemas(schemas.reader, schemas.writers, refused, schemas.follows)
    with pytest.raises(PipelineException, match="more than 20 ids of schemas in messages are none of"):
        many.with_id(entered(schema_registry.url), 2**31 - 1)
