"""How a schema registry is entered and asked, without a broker and without Spark."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient

from devtools.services.process import free_port
from devtools.services.schema_registry import SchemaRegistry
from devtools.services.schema_registry_front import front_of
from pipeline_platform.connectors.kafka.registry import Registry
from pipeline_platform.connectors.kafka.registry_schemas import RegistrySchemas, schemas_of
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException

Json = dict[str, Any]
LOGIN = "reader:p:w/ é"


def record(name: str, *fields: Json) -> str:
    return json.dumps({"type": "record", "name": name, "namespace": "shop", "fields": fields})


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
        (schema_registry.url.replace("ccompat", "nothing"), "next: check the path in the URL"),
        (schema_registry.url, "there is no subject any in the schema registry"),
    ):
        with pytest.raises(PipelineException, match=f"(?s){told}") as raised:
            entered(url).latest("any")
        assert not raised.value.retryable


def test_too_many_ids_that_no_registry_has_say_that_it_may_be_another_one(
    schema_registry: SchemaRegistry, client: SchemaRegistryClient
):
    client.register_schema("few", Schema(record("F", {"name": "a", "type": "int"}), "AVRO"))
    schemas = schemas_of(entered(schema_registry.url), ["few"], None, None)
    refused = dict.fromkeys(range(10**6, 10**6 + 20), "unknown")
    many = RegistrySchemas(schemas.reader, schemas.writers, refused, schemas.follows)
    with pytest.raises(PipelineException, match="more than 20 ids of schemas in messages are none of"):
        many.with_id(entered(schema_registry.url), 2**31 - 1)
