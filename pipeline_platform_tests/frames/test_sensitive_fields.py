"""Columns that are sensitive for what is nested in them."""

from __future__ import annotations

from pyspark.sql import types as T

from pipeline_platform.frames.sensitive_fields import sensitive_columns, unfound_names

TEXT = T.StringType()


def struct(**fields: T.DataType) -> T.StructType:
    return T.StructType([T.StructField(name, kind) for name, kind in fields.items()])


COLUMNS = struct(
    id=T.LongType(),
    Customer=struct(Email=TEXT, city=TEXT),
    items=T.ArrayType(struct(note=TEXT, logins=T.MapType(TEXT, struct(api_token=TEXT)))),
    tags=T.MapType(TEXT, TEXT),
    extra=T.MapType(TEXT, struct(phone=TEXT)),
    plain=struct(tokenPath=TEXT),
)


def test_a_column_is_sensitive_for_a_field_that_is_marked_or_looks_like_a_secret() -> None:
    assert sensitive_columns(COLUMNS, []) == {"items"}
    for mark, column in {"customer.email": "Customer", "tags.mail": "tags", "extra.phone": "extra", "id": "id"}.items():
        assert sensitive_columns(COLUMNS, [mark]) == {"items", column}
    assert sensitive_columns(COLUMNS, ["email", "customer.mail"]) == {"items"}


def test_a_mark_that_hides_nothing_is_told() -> None:
    found = ["ID", "customer", "Customer.Email", "items.note", "tags.any", "extra.phone", "items.logins.x.api_token"]
    assert unfound_names([struct(other=TEXT), COLUMNS], [*found, "customer.mail", "emial"]) == [
        "customer.mail",
        "emial",
    ]
