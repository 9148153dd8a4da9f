"""`contract`: files of the Open Data Contract Standard, as far as they show without Spark whether a load keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
import yaml
from open_data_contract_standard.model import OpenDataContractStandard

from pipeline_platform.config.contracts import odcs
from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.registry import method_registry
from pipeline_platform.steps.contract_rules import ContractRules
from pipeline_platform_tests.config.contracts import HEAD, project, table
from pipeline_platform_tests.config.reading import problems_of

STANDARD: dict[str, Any] = json.loads(str(OpenDataContractStandard.json_schema()))


def rules_of(file: Path) -> tuple[list[str], list[str]]:
    """The rules of the contract's validation, and what is told not to be checked."""
    pipeline = load_pipeline(file, method_registry())
    config = cast("ContractRules", pipeline.steps[-1].config)
    unchecked = [f"{warning.line}: {warning.message}" for warning in pipeline.warnings]
    return [f"{rule.kind} {rule.name}" for rule in config.promised.rules], unchecked


def mistakes(file: Path) -> list[str]:
    return [
        f"{found.file.name}:{found.line}:{found.column}: {found.message}" + (f" ({found.hint})" if found.hint else "")
        for found in problems_of(file)
    ]


def test_the_validation_of_a_contract_leaves_the_numbers_of_the_steps_and_comes_right_before_its_load(tmp_path: Path):
    pipeline = load_pipeline(project(tmp_path, table("{name: id, logicalType: integer}")), method_registry())
    assert [step.name for step in pipeline.steps] == ["from_files", "to_delta_lake", "to_delta_lake_contract"]
    assert [pipeline.step_title(step) for step in pipeline.in_turn] == [
        "step 1 of 2, from_files (fromFiles)",
        "before step 2 of 2, to_delta_lake_contract (contract)",
        "step 2 of 2, to_delta_lake (toDeltaLake)",
    ]


def test_every_rule_is_checked_or_told(tmp_path: Path):
    contract = table(
        "{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 2}",
        "{name: shop, logicalType: string, primaryKey: true, primaryKeyPosition: 1, physicalType: varchar(3)}",
        "{name: mail, logicalType: string, unique: true, logicalTypeOptions: {pattern: '@', format: email}}",
        "{name: born, logicalType: date, logicalTypeOptions: {minimum: '1900-01-01', exclusiveMinimum: true}}",
        "{name: paid, logicalType: timestamp, logicalTypeOptions: {maximum: tomorrow}}",
        "{name: tags, logicalType: array, logicalTypeOptions: {maxItems: 3}, items: {logicalType: string, enum: "
        "[{value: a}]}}",
        "{name: to, logicalType: object, properties: [{name: zip, physicalName: plz, required: true}]}",
        "{name: kind, physicalType: hstore, quality: [{rule: validValues, validValues: [a, b], mustBe: 0}, "
        "{metric: nullValues, mustBeLessThan: 5}, {type: text, description: all is well}, "
        "{metric: missingValues, mustBe: 0, severity: info, arguments: {missingValues: ['']}}]}",
        quality="    quality:\n"
        "      - {metric: duplicateValues, mustBe: 0, name: one each, arguments: {properties: [id, mail]}}\n"
        "      - {metric: rowCount, mustBeGreaterThan: 10}\n",
    )
    rules, unchecked = rules_of(project(tmp_path, contract))
    assert rules == [
        "notNull id: primaryKey, not null",
        "notNull shop: primaryKey, not null",
        "maxLength shop: physicalType varchar(3)",
        "unique mail: unique",
        "pattern mail: pattern @",
        "above born: minimum 1900-01-01",
        "maxItems tags: maxItems 3",
        "notNull to.plz: required, not null",
        "oneOf kind: invalidValues",
        "unique shop, id: primaryKey",
        "unique id, mail: one each",
    ]
    mild = "a broken contract fails the load"
    assert unchecked == [
        "11: 'format' of 'mail' is not checked",
        "13: 'tomorrow' is no timestamp as ISO 8601 writes it, so 'maximum' is not checked",
        "14: 'tags.items: enum' is about what is within an array or a map, and is not checked",
        "16: 'hstore' is no type that Spark's can be compared with",
        "16: the quality rule 'nullValues' is not checked: it tolerates some rows, or asks for a number of them; use "
        "a validation with 'tolerance'",
        "16: the quality rule 'text' is not checked: rules of the type text are not",
        f"16: the quality rule 'missingValues' is not checked: its severity is info, and {mild}",
        "19: the quality rule 'rowCount' is not checked: it tolerates some rows, or asks for a number of them; use a "
        "validation with 'tolerance'",
    ]


@pytest.mark.parametrize(
    ("contract", "told"),
    [
        (HEAD.replace("1.2.0", "1.2"), ["orders.odcs.yaml:4:10: expected a string, not a number (write it in quotes)"]),
        (
            table("{name: id, requird: true}"),
            ["orders.odcs.yaml:9:20: unknown key 'requird' (did you mean 'required'?)"],
        ),
        (
            table("{name: id, logicalType: integer, logicalTypeOptions: {maxLength: 3}}"),
            [
                "orders.odcs.yaml:9:74: 'maxLength' is no option of the logical type integer; it has exclusiveMaximum, "
                "exclusiveMinimum, format, maximum, minimum, multipleOf"
            ],
        ),
        (
            table("{name: id}", "{name: other, physicalName: ID}"),
            ["orders.odcs.yaml:10:9: 'orders' has the column 'ID' twice"],
        ),
        (
            HEAD,
            ["orders.json:18:21: the contract ../contracts/orders.odcs.yaml has no 'schema', so it promises no table"],
        ),
        (f"{HEAD}tags: [a\nteam: b\n", ["orders.odcs.yaml:7:5: not YAML: expected ',' or ']', but got ':'"]),
        (f"{HEAD}tags: &a [*a]\n", ["orders.odcs.yaml:6:7: not YAML: an alias leads back to what it stands in"]),
        (f"{HEAD}id: again\n", ["orders.odcs.yaml:6:1: the key 'id' appears twice in one object (first on line 3)"]),
        (f"{HEAD}tags: [!!int x]\n", ["orders.odcs.yaml:6:8: not YAML: the value is no int"]),
        ("", ["orders.odcs.yaml:1:1: the file is empty"]),
        ("- a\n", ["orders.odcs.yaml:1:1: expected a data contract, not a list"]),
        ("a: \0", ["orders.odcs.yaml:1:4: not YAML: the character #x0000 is not allowed"]),
    ],
)
def test_what_is_no_contract_is_refused_at_its_place(tmp_path: Path, contract: str, told: list[str]):
    file = project(tmp_path, contract)
    assert [line.replace(str(tmp_path), "..") for line in mistakes(file)] == told


def test_a_value_that_no_column_has_or_that_is_of_another_type_is_refused_at_its_place(tmp_path: Path):
    contract = table(
        "{name: a, required: 'no', primaryKeyPosition: '3', logical_type: string}",
        "{name: b, quality: [{metric: nullValues, mustBe: false}, {metric: nullValues, mustBeLessThan: '1'}]}",
        "{name: c, logicalType: number, logicalTypeOptions: {minimum: .inf}}",
        "{name: d, logicalType: integer, logicalTypeOptions: {multipleOf: 0}}",
        "{name: e, logicalType: integer, logicalTypeOptions: {minimum: 5, maximum: 1}}",
        "{name: f, logicalType: string, logicalTypeOptions: {minLength: 5, maxLength: 1}}",
        "{name: g, logicalType: string, logicalTypeOptions: {pattern: '['}}",
        "{name: h, logicalType: object, logicalTypeOptions: {required: zip}}",
        "{name: i, logicalType: date, logicalTypeOptions: {exclusiveMinimum: '2024-01-02', maximum: '2024-01-02'}}",
    )
    assert mistakes(project(tmp_path, contract)) == [
        "orders.odcs.yaml:9:29: expected true or false, not a string",
        "orders.odcs.yaml:9:55: expected an integer, not a string",
        "orders.odcs.yaml:9:60: unknown key 'logical_type' (did you mean 'logicalType'?)",
        "orders.odcs.yaml:10:58: expected a number, not a boolean",
        "orders.odcs.yaml:10:103: expected a number, not a string",
        "orders.odcs.yaml:11:70: expected a finite number",
        "orders.odcs.yaml:12:74: must be greater than 0, and of at most 38 digits",
        "orders.odcs.yaml:13:83: no value is within 'minimum' 5 and 'maximum' 1",
        "orders.odcs.yaml:14:86: no value has a 'minLength' of 5 and a 'maxLength' of 1",
        "orders.odcs.yaml:15:70: no regular expression: unterminated character set",
        "orders.odcs.yaml:16:71: expected a list of names",
        "orders.odcs.yaml:17:100: no value is within 'exclusiveMinimum' 2024-01-02 and 'maximum' 2024-01-02",
    ]
    contract = table(
        "{name: a, logicalType: string, quality: [{metric: invalidValues, mustBe: 0, arguments: {validValues: [DE, "
        "NO, 01234, 12:30, 1.10, null, '1']}}]}",
        "{name: b, physicalType: 'decimal(5,2)', enum: [{value: '1.5'}, {value: x}]}",
        "{name: c, logicalType: timestamp, enum: [{value: '2024-01-02T00:00:00'}, {value: soon}]}",
        "{name: d, logicalType: integer, quality: [{metric: missingValues, mustBe: 0, arguments: {missingValues: [''"
        ", null]}}]}",
        "{name: e, quality: [{metric: invalidValues, mustBe: 0, arguments: {pattern: '(a'}}]}",
    )
    quotes = "(write it in quotes)"
    assert [told.partition(":")[2] for told in mistakes(project(tmp_path, contract))] == [
        f"9:115: expected a string, not a boolean {quotes}",
        *[f"9:{column}: expected a string, not a number {quotes}" for column in (119, 126, 133)],
        "10:80: expected a number, not 'x'",
        "11:90: expected a timestamp as ISO 8601 writes it, not 'soon'",
        "13:85: no regular expression: missing ), unterminated subpattern",
    ]


def test_no_two_things_of_a_contract_have_one_name(tmp_path: Path):
    box = "{name: box, logicalType: object, properties: [{name: k}, {name: K}]}"
    rows = f"{{name: rows, logicalType: array, items: {box.replace('name: box, ', '')}}}"
    contract = table(box, rows, "{name: id, physicalName: a}", "{name: id, physicalName: b}")
    contract += "  - name: orders\n    properties: [{name: id}]\n"
    assert mistakes(project(tmp_path, contract)) == [
        "orders.odcs.yaml:9:66: 'box' has the field 'K' twice",
        "orders.odcs.yaml:10:95: 'rows' has the field 'K' twice",
        "orders.odcs.yaml:12:16: 'orders' has the column 'id' twice",
        "orders.odcs.yaml:13:11: the contract has the object 'orders' twice",
    ]
    both = table("{name: id}", name="x").replace("  - name: x\n", "  - name: x\n    physicalName: orders\n")
    [told] = mistakes(project(tmp_path, both + "  - {name: orders, physicalName: y, properties: [{name: id}]}\n"))
    assert told.endswith("'orders' in its 'schema' (name one by what it alone is called: x, orders)")


def test_a_key_of_several_columns_leaves_each_of_them_unique_if_the_contract_says_so(tmp_path: Path):
    unique = "{name: id, primaryKey: true, unique: true}"
    assert rules_of(project(tmp_path, table(unique)))[0] == [
        "notNull id: primaryKey, not null",
        "unique id: primaryKey",
    ]
    assert rules_of(project(tmp_path, table(unique, "{name: line, primaryKey: true}")))[0] == [
        "notNull id: primaryKey, not null",
        "unique id: unique",
        "notNull line: primaryKey, not null",
        "unique id, line: primaryKey",
    ]


def test_what_a_type_asks_of_values_is_a_rule_or_told(tmp_path: Path):
    contract = table(
        "{name: a, logicalType: string, physicalType: varchar(2), logicalTypeOptions: {maxLength: 5}}",
        "{name: b, physicalType: tinyint unsigned}",
        "{name: c, physicalType: varbinary(2)}",
        "{name: d, physicalType: time(3)}",
        "{name: e, physicalType: 'array<varchar(2)>'}",
        "{name: f, physicalType: 'struct<x:hstore>'}",
        "{name: g, physicalType: bit(8)}",
        "{name: h, physicalType: float(53)}",
        "{name: i, physicalType: int8}",
        "{name: j, physicalType: json}",
        "{name: k, logicalType: timestamp, logicalTypeOptions: {timezone: false, exclusiveMaximum: true}}",
        "{name: l, logicalType: object, properties: [{name: x, primaryKey: true, partitioned: true}]}",
        "{name: m, primaryKeyPosition: 1, relationships: [{to: shops.id}]}",
        "{name: n, logicalType: array, enum: [{value: [1]}]}",
    )
    rules, unchecked = rules_of(project(tmp_path, contract))
    assert rules == [
        "maxLength a: maxLength 5",
        "maxLength a: physicalType varchar(2)",
        "minimum b: physicalType tinyint unsigned",
        "maximum b: physicalType tinyint unsigned (2)",
        "maxBytes c: physicalType varbinary(2)",
        "notNull l.x: primaryKey, not null",
    ]
    no_type = "is no type that Spark's can be compared with"
    assert unchecked == [
        "12: of 'time(3)' it is not checked that seconds have at most 3 decimals",
        "13: of 'array<varchar(2)>' only the types of what is within are checked",
        "14: of 'struct<x:hstore>' what is within is not checked",
        f"15: 'bit(8)' {no_type}",
        f"16: 'float(53)' {no_type}",
        f"17: 'int8' {no_type}",
        "18: of 'json' it is not checked that a text is JSON",
        "19: 'timezone' of 'k' is not checked",
        "19: 'exclusiveMaximum' says nothing without 'maximum'",
        "20: of 'l.x' only that it is not null is checked: keys are of columns",
        "20: 'partitioned' of 'l.x' is not checked: it is no column",
        "21: 'm' is in no key without 'primaryKey'",
        "21: 'relationships' are not checked; use validateReferentialIntegrity",
        "22: 'enum' of 'n' is not checked: it is about values with parts",
    ]
    assert rules_of(project(tmp_path, f"{HEAD}schema: [{{name: orders}}]\n"))[1] == [
        "6: 'orders' has no 'properties', so no column of it is checked"
    ]


def test_a_column_is_kept_from_samples_if_anything_in_it_is_classified(tmp_path: Path):
    hidden = "{name: n, classification: restricted}"
    contract = table(
        "{name: a, classification: Public}",
        f"{{name: b, physicalName: bb, logicalType: object, properties: [{{name: k}}, {hidden}]}}",
        f"{{name: c, logicalType: array, items: {{logicalType: object, properties: [{hidden}]}}}}",
        f"{{name: d, logicalType: map, map: {{key: {{logicalType: string}}, value: {hidden}}}}}",
        "{name: e, classification: secret}",
        "{name: f, logicalType: object, properties: [{name: k, classification: public}]}",
    )
    config = load_pipeline(project(tmp_path, contract), method_registry()).steps[-1].config
    assert cast("ContractRules", config).sensitive_columns == ["bb", "c", "d", "e"]


def test_a_load_names_its_table_where_a_contract_has_several(tmp_path: Path):
    tables = table("{name: id}", name="items") + "  - name: refunds\n    physicalName: orders_back\n"
    [told] = mistakes(project(tmp_path, tables))
    assert told.endswith("has no object 'orders' in its 'schema' (name one with 'schema': items, refunds)")
    file = "../contracts/orders.odcs.yaml"
    [told] = mistakes(project(tmp_path, tables, reference={"file": file, "schema": "item"}))
    assert told.endswith("has no object 'item' in its 'schema' (did you mean 'items'?)")
    chosen = load_pipeline(project(tmp_path, tables, path="lake/orders_back"), method_registry()).steps[-1].config
    assert cast("ContractRules", chosen).table.table.name == "refunds"


def test_a_load_divides_its_table_as_the_contract_says(tmp_path: Path):
    contract = table("{name: id}", "{name: day, partitioned: true}")
    [told] = mistakes(project(tmp_path, contract, partitionBy=["id"]))
    assert "promises a table that is partitioned by day" in told
    assert rules_of(project(tmp_path, contract, partitionBy=["Day"]))[1] == []
    assert rules_of(project(tmp_path, contract))[1] == [
        "10: 'partitioned' is not checked: the load has no 'partitionBy'"
    ]


def test_changes_of_rows_keep_no_contract(tmp_path: Path):
    changes = {"keys": ["id"], "sequenceBy": "at"}
    [told] = mistakes(project(tmp_path, table("{name: id}"), mode="applyChanges", changes=changes))
    assert "with mode applyChanges the rows are changes of them" in told


def keys_of(name: str) -> set[str]:
    """The keys that the standard has for an object, those of what it extends included."""
    found = STANDARD["$defs"][name]
    keys = set(found.get("properties", {}))
    parts = [*found.get("allOf", []), found]
    for part in parts:
        if "$ref" in part:
            keys |= keys_of(part["$ref"].rpartition("/")[2])
        keys |= {key for key in part.get("then", {}).get("properties", {}) if key != "logicalTypeOptions"}
        if "$ref" in part.get("then", {}):
            keys |= keys_of(part["then"]["$ref"].rpartition("/")[2])
        for one in part.get("oneOf", []):
            keys |= set(one.get("properties", {}))
    return keys


@pytest.mark.parametrize(
    ("ours", "theirs", "older"),
    [
        (odcs.SchemaObject, "SchemaObject", {"physicalName"}),
        (odcs.Property, "SchemaProperty", set[str]()),
        (odcs.Quality, "DataQuality", {"validValues"}),
        (odcs.AllowedValue, "EnumValue", set[str]()),
    ],
)
def test_every_key_of_the_standard_is_known(ours: type[odcs.SchemaObject], theirs: str, older: set[str]):
    known = {field.alias or name for name, field in ours.model_fields.items()}
    assert known - older == keys_of(theirs) - older


def test_the_standard_takes_the_contracts_of_these_tests(tmp_path: Path):
    contract = table("{name: id, logicalType: integer, primaryKey: true, enum: [{value: 1}]}").replace("3.1", "3.2")
    jsonschema.Draft201909Validator(STANDARD).validate(yaml.safe_load(contract))
    assert rules_of(project(tmp_path, contract))[1] == []
    top = {field.alias or name for name, field in odcs.DataContract.model_fields.items()}
    assert top == set(STANDARD["properties"])
    assert set(odcs.DataContract.model_fields["api_version"].annotation.__args__) <= {  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
        *STANDARD["properties"]["apiVersion"]["enum"]
    }


def test_a_pipeline_whose_placeholders_are_replaced_carries_out_the_replaced_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KEPT", "id > 1")
    file = project(tmp_path, table("{name: id}"))
    value = json.loads(file.read_text())
    value["steps"].insert(1, {"type": "transform", "method": "filterRows", "config": {"condition": "${env:KEPT}"}})
    file.write_text(json.dumps(value))
    pipeline = load_pipeline(file, method_registry())
    before = pipeline.in_turn
    assert pipeline.resolve().in_turn[1].config.model_dump()["condition"] == "id > 1"
    assert [step.index for step in before] == [0, 1, 3, 2]
