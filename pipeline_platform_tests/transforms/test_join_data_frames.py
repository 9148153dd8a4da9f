from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest
from pyspark.errors import AnalysisException

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.transforms.join_data_frames import JoinDataFrames
from pipeline_platform_tests.duckdb_rows import Table, assert_same_rows
from pipeline_platform_tests.transforms.steps import applied, mistakes, sources

USERS = Table(
    "id BIGINT, region STRING, name STRING",
    [(1, "eu", "Ada"), (2, "us", "Bob"), (2, "us", "Bob"), (3, None, "Cy"), (None, "eu", "nobody")],
)
ORDERS = Table(
    "user_id BIGINT, region STRING, amount DECIMAL(10,2)",
    [
        (1, "eu", Decimal("1.10")),
        (1, "us", None),
        (2, "us", Decimal("3.00")),
        (9, "eu", Decimal("4")),
        (None, None, Decimal("5")),
    ],
)
ACCOUNTS = Table("id BIGINT, plan STRING", [(1, "free"), (2, "paid"), (2, "old"), (7, "lost"), (None, "none")])
LOGINS = Table("id INT, last_seen STRING", [(1, "mon"), (7, "tue"), (8, "wed")])


def join(*names: str, **config: Any) -> JoinDataFrames:
    return JoinDataFrames.model_validate({"inputDataFrames": list(names), **config})


@pytest.mark.parametrize("kind", ["inner", "left", "right", "full"])
def test_a_key_of_the_same_name_is_kept_once_with_the_value_of_the_side_that_has_one(spark: Any, kind: str):
    step = join("users", "accounts", joinConditions=["users.id = accounts.id"], joinType=kind)
    assert_same_rows(
        applied(spark, step, users=USERS, accounts=ACCOUNTS),
        f"SELECT coalesce(u.id, a.id) AS id, region, name, plan FROM users u {kind} JOIN accounts a ON u.id = a.id",
        users=USERS,
        accounts=ACCOUNTS,
    )


def test_a_right_join_keeps_the_key_of_rows_without_a_match(spark: Any):
    step = join("users", "accounts", joinConditions=["accounts.id = users.id"], joinType="right_outer")
    rows = {(row["plan"], row["id"]) for row in applied(spark, step, users=USERS, accounts=ACCOUNTS).collect()}
    assert ("lost", 7) in rows


@pytest.mark.parametrize(("kind", "sql"), [("left_semi", "EXISTS"), ("anti", "NOT EXISTS")])
def test_semi_and_anti_joins_keep_the_columns_of_the_left_side_alone(spark: Any, kind: str, sql: str):
    step = join("users", "accounts", joinConditions="users.id = accounts.id", joinType=kind)
    assert_same_rows(
        applied(spark, step, users=USERS, accounts=ACCOUNTS),
        f"SELECT * FROM users WHERE {sql} (SELECT 1 FROM accounts a WHERE a.id = users.id)",
        users=USERS,
        accounts=ACCOUNTS,
    )


def test_several_keys_joined_by_and_are_each_kept_once(spark: Any):
    rights = Table("id BIGINT, region STRING, score INT", [(1, "eu", 5), (2, "eu", 6), (3, None, 7)])
    condition = "(users.id = rights.id) AND (rights.region <=> users.region AND rights.score > 1)"
    step = join("users", "rights", joinConditions=[condition], joinType="full")
    assert_same_rows(
        applied(spark, step, users=USERS, rights=rights),
        """SELECT coalesce(u.id, r.id) AS id, coalesce(u.region, r.region) AS region, name, score
           FROM users u FULL JOIN rights r
           ON u.id = r.id AND u.region IS NOT DISTINCT FROM r.region AND r.score > 1""",
        users=USERS,
        rights=rights,
    )


KINDS = ("inner", "left", "right", "full")


@pytest.mark.parametrize(("first", "second"), list(itertools.product(KINDS, KINDS)))
def test_frames_are_joined_from_left_to_right_each_in_its_own_way(spark: Any, first: str, second: str):
    step = join(
        "users",
        "accounts",
        "logins",
        joinConditions=["users.id = accounts.id", "accounts.id = logins.id"],
        joinType=[first, second],
    )
    assert_same_rows(
        applied(spark, step, users=USERS, accounts=ACCOUNTS, logins=LOGINS),
        f"""SELECT coalesce(u.id, a.id, l.id) AS id, region, name, plan, last_seen
            FROM users u {first} JOIN accounts a ON u.id = a.id {second} JOIN logins l ON a.id = l.id""",
        users=USERS,
        accounts=ACCOUNTS,
        logins=LOGINS,
    )


@pytest.mark.parametrize(("first", "second"), [("semi", "full"), ("right", "anti"), ("full", "semi")])
def test_a_semi_join_may_stand_between_others(spark: Any, first: str, second: str):
    last = "users" if first == "semi" else "accounts"
    step = join(
        "users",
        "accounts",
        "logins",
        joinConditions=["users.id = accounts.id", f"{last}.id = logins.id"],
        joinType=[first, second],
    )
    expected = {
        "semi": """SELECT coalesce(u.id, l.id) AS id, region, name, last_seen
                   FROM (SELECT * FROM users WHERE id IN (SELECT id FROM accounts)) u FULL JOIN logins l USING (id)""",
        "right": """SELECT coalesce(u.id, a.id) AS id, region, name, plan
                    FROM users u RIGHT JOIN accounts a ON u.id = a.id
                    WHERE NOT EXISTS (SELECT 1 FROM logins l WHERE l.id = a.id)""",
        "full": """SELECT coalesce(u.id, a.id) AS id, region, name, plan
                   FROM users u FULL JOIN accounts a ON u.id = a.id
                   WHERE EXISTS (SELECT 1 FROM logins l WHERE l.id = a.id)""",
    }
    frame = applied(spark, step, users=USERS, accounts=ACCOUNTS, logins=LOGINS)
    assert_same_rows(frame, expected[first], users=USERS, accounts=ACCOUNTS, logins=LOGINS)


def test_a_condition_between_other_columns_keeps_both(spark: Any):
    orders = Table("user_id BIGINT, amount DECIMAL(10,2)", [(1, Decimal("1.10")), (9, Decimal("2"))])
    step = join(
        "users", "orders", joinConditions=["users.id = orders.user_id"], joinType="LEFT OUTER".replace(" ", "_")
    )
    assert_same_rows(
        applied(spark, step, users=USERS, orders=orders),
        "SELECT u.*, o.* FROM users u LEFT JOIN orders o ON u.id = o.user_id",
        users=USERS,
        orders=orders,
    )


def test_any_other_column_name_that_frames_share_is_an_error_that_lists_it(spark: Any):
    step = join("users", "orders", joinConditions=["users.id = orders.user_id"])
    with pytest.raises(PipelineExecutionException, match=r"'region' \(in users, orders\)") as raised:
        applied(spark, step, users=USERS, orders=ORDERS)
    assert "rename" in (raised.value.hint or "")


@pytest.mark.parametrize("condition", ["users.id = accounts.id OR users.name = 'x'", "users.id > accounts.id"])
def test_a_condition_that_does_not_make_the_names_equal_drops_nothing(spark: Any, condition: str):
    with pytest.raises(PipelineExecutionException, match="'id' \\(in users, accounts\\)"):
        applied(spark, join("users", "accounts", joinConditions=[condition]), users=USERS, accounts=ACCOUNTS)


@pytest.mark.parametrize("kind", ["inner", "left", "right", "full"])
def test_a_join_column_is_kept_once(spark: Any, kind: str):
    step = join("users", "accounts", "logins", joinColumn="id", joinType=kind)
    assert_same_rows(
        applied(spark, step, users=USERS, accounts=ACCOUNTS, logins=LOGINS),
        f"""SELECT id, region, name, plan, last_seen
            FROM users {kind} JOIN accounts USING (id) {kind} JOIN logins USING (id)""",
        users=USERS,
        accounts=ACCOUNTS,
        logins=LOGINS,
    )


def test_several_join_columns_come_first(spark: Any):
    right = Table("score INT, `the region` STRING, id BIGINT", [(5, "eu", 1), (6, None, 3)])
    left = Table("name STRING, id BIGINT, `the region` STRING", [("a", 1, "eu"), ("b", 3, None), ("c", 1, "us")])
    step = join("left side", "r", joinColumn=["id", "the region"], joinType="left")
    named: dict[str, Any] = {"left side": left, "r": right}
    assert_same_rows(
        applied(spark, step, **named),
        """SELECT l.id, l."the region", name, score FROM "left side" l
           LEFT JOIN r ON l.id = r.id AND l."the region" = r."the region" """,
        **named,
    )


def test_a_semi_join_by_column_hides_the_right_side(spark: Any):
    step = join("users", "orders", joinColumn="region", joinType="semi")
    assert_same_rows(
        applied(spark, step, users=USERS, orders=ORDERS),
        "SELECT region, id, name FROM users WHERE region IN (SELECT region FROM orders)",
        users=USERS,
        orders=ORDERS,
    )


def test_a_join_column_that_a_frame_lacks_is_named_with_the_frame_and_a_hint(spark: Any):
    with pytest.raises(
        PipelineExecutionException, match="no column 'id' in 'orders'; the columns are user_id"
    ) as raised:
        applied(spark, join("users", "orders", joinColumn="id"), users=USERS, orders=ORDERS)
    assert raised.value.hint


def test_names_shared_beside_the_join_column_are_an_error(spark: Any):
    two = Table("id BIGINT, name STRING", [])
    with pytest.raises(PipelineExecutionException, match="'name' \\(in users, two\\)"):
        applied(spark, join("users", "two", joinColumn="id"), users=USERS, two=two)


def test_a_cross_join_needs_no_condition(spark: Any):
    plans = Table("plan STRING", [("free",), (None,)])
    seats = Table("seat INT", [(1,), (2,)])
    assert_same_rows(
        applied(spark, join("users", "plans", "seats", joinType="cross"), users=USERS, plans=plans, seats=seats),
        "SELECT * FROM users, plans, seats",
        users=USERS,
        plans=plans,
        seats=seats,
    )


def test_a_cross_join_among_others_may_go_without_a_condition(spark: Any):
    plans = Table("tier STRING", [("free",), (None,)])
    step = join("users", "plans", "logins", joinType=["cross", "left"], joinConditions=["users.id = logins.id"])
    assert_same_rows(
        applied(spark, step, users=USERS, plans=plans, logins=LOGINS),
        """SELECT u.id, region, name, tier, last_seen FROM users u CROSS JOIN plans
           LEFT JOIN logins l ON u.id = l.id""",
        users=USERS,
        plans=plans,
        logins=LOGINS,
    )


def test_a_frame_may_be_joined_with_one_made_from_it(spark: Any):
    users = USERS.frame(spark)
    named: dict[str, Any] = {
        "all-users": users,
        "eu": users.filter("region = 'eu'").select("id", users["name"].alias("who")),
    }
    step = join("all-users", "eu", joinConditions=["`all-users`.id = eu.id"], joinType="full")
    assert_same_rows(
        applied(spark, step, **named),
        """SELECT coalesce(u.id, e.id) AS id, region, name, who FROM users u
           FULL JOIN (SELECT id, name AS who FROM users WHERE region = 'eu') e ON u.id = e.id""",
        users=USERS,
    )


def test_a_broadcast_frame_is_sent_to_every_executor(spark: Any, capsys: pytest.CaptureFixture[str]):
    config: dict[str, Any] = {"joinConditions": ["users.id = accounts.id"]}
    spark.conf.set("spark.sql.autoBroadcastJoinThreshold", "-1")
    try:
        applied(spark, join("users", "accounts", **config), users=USERS, accounts=ACCOUNTS).explain()
        assert "BroadcastHashJoin" not in capsys.readouterr().out
        applied(
            spark, join("users", "accounts", broadcast="accounts", **config), users=USERS, accounts=ACCOUNTS
        ).explain()
        assert "BroadcastHashJoin" in capsys.readouterr().out
    finally:
        spark.conf.unset("spark.sql.autoBroadcastJoinThreshold")


def test_a_condition_on_a_missing_column_is_sparks_own_error(spark: Any):
    step = join("users", "accounts", joinConditions=["users.idd = accounts.id AND users.id = accounts.id"])
    with pytest.raises(AnalysisException, match=r"`users`\.`idd`"):
        applied(spark, step, users=USERS, accounts=ACCOUNTS).schema  # noqa: B018


TWO: dict[str, Any] = {"inputDataFrames": ["a", "b"]}
ON: dict[str, Any] = {"joinConditions": ["a.k = b.k"]}


@pytest.mark.parametrize(
    ("config", "key", "message"),
    [
        ({"inputDataFrames": ["a"], "joinColumn": "k"}, "inputDataFrames", "two frames"),
        ({"inputDataFrames": ["a", "a"], **ON}, "inputDataFrames", "named twice: a"),
        (TWO, "joinConditions", "give 'joinConditions' or 'joinColumn'"),
        ({**TWO, **ON, "joinColumn": "k"}, "joinColumn", "not both"),
        ({**TWO, "joinConditions": ["a.k = b.k", "b.k = c.k"]}, "joinConditions", "2 frames need 1 condition"),
        ({**TWO, **ON, "joinType": ["inner", "left"]}, "joinType", "not 2"),
        ({**TWO, **ON, "joinType": "lefty"}, "joinType", "'inner'"),
        ({**TWO, "joinConditions": ["a.k = "]}, "joinConditions", "SQL syntax"),
        ({**TWO, **ON, "broadcast": "c"}, "broadcast", "'c' is not one of the frames joined: a, b"),
        ({**TWO, **ON, "input": "c"}, "input", "inputDataFrames"),
        ({**TWO, "joinColumn": "k", "joinType": "cross"}, "joinColumn", "cross"),
        ({**TWO, **ON, "on": "k"}, "on", "Extra"),
    ],
)
def test_what_does_not_fit_together_is_a_config_error_at_its_key(config: dict[str, Any], key: str, message: str):
    found = mistakes(JoinDataFrames, config)
    assert [where for where, _ in found] == [key]
    assert message in found[0][1]


def test_it_reads_the_named_frames_and_not_the_primary_one():
    step = join("a", "b", "c", joinColumn="k")
    assert step.referenced_frames() == [("inputDataFrames", "a"), ("inputDataFrames", "b"), ("inputDataFrames", "c")]
    assert not step.reads_primary()


@pytest.mark.parametrize(
    "kind",
    [
        "inner",
        "cross",
        "left",
        "leftouter",
        "left_outer",
        "RIGHT",
        "rightouter",
        "right_outer",
        "outer",
        "full",
        "fullouter",
        "full_outer",
        "semi",
        "leftsemi",
        "left_semi",
        "anti",
        "leftanti",
        "Left_Anti",
    ],
)
def test_every_spelling_of_spark_is_a_join_type(kind: str):
    assert join("a", "b", joinConditions=["a.k = b.k"], joinType=kind)


def test_lineage_says_which_frame_a_column_is_from():
    columns: dict[str | None, list[str]] = {"a": ["k", "x"], "b": ["K", "y"], "c": ["k", "z"]}
    config: dict[str, Any] = {"joinConditions": ["a.k = b.k", "a.k = c.k"], "joinType": ["inner", "full"]}
    assert sources(join("a", "b", "c", **config), columns, ["k", "x", "y", "z"]) == {
        "k": ["a.k", "c.k"],
        "x": ["a.x"],
        "y": ["b.y"],
        "z": ["c.z"],
    }
    by_name = join("a", "b", "c", joinColumn="k", joinType=["right", "semi"])
    assert sources(by_name, columns, ["K", "x", "y"]) == {"K": ["b.K"], "x": ["a.x"], "y": ["b.y"]}


@pytest.mark.parametrize(
    "config",
    [
        {"joinColumn": "id"},
        {"joinConditions": ["users.id = texts.id AND true"]},
        {"joinConditions": ["users.id = texts.id AND Users.ID <=> texts.other"]},
    ],
)
def test_columns_of_types_that_would_change_values_are_not_compared(spark: Any, config: dict[str, Any]):
    texts = Table("id STRING, other STRING", [("007", "007")])
    step = join("users", "texts", **config)
    with pytest.raises(PipelineExecutionException) as raised:
        applied(spark, step, users=Table("id BIGINT", [(7,)]), texts=texts)
    assert "'users' has the column 'id' as bigint, and 'texts' has '" in raised.value.message
    assert raised.value.message.endswith("as string")
    assert "as bigint)" in (raised.value.hint or "").lower()


@pytest.mark.parametrize(
    "condition",
    ["id = text", "users.id IN (1, texts.text)", "NOT (users.id IS NULL OR texts.Text = users.id)"],
)
def test_a_comparison_is_found_wherever_it_stands_and_however_its_columns_are_written(spark: Any, condition: str):
    step = join("users", "texts", joinConditions=[condition])
    frames = {"users": Table("id BIGINT", [(7,)]), "texts": Table("text STRING", [("007",)])}
    with pytest.raises(PipelineExecutionException, match="the join would change values: '") as raised:
        applied(spark, step, **frames)
    assert all(said in raised.value.message for said in ("'users' has ", "'id' as bigint", "'texts' has "))


@pytest.mark.parametrize(
    ("config", "is_refused"),
    [
        ({"joinColumn": "k", "joinType": "full"}, True),
        ({"joinConditions": ["small.k = whole.k", "small.k = double.k"], "joinType": "full"}, True),
        ({"joinConditions": ["small.k = whole.k", "small.k = double.k"]}, False),
    ],
)
def test_columns_that_become_one_are_all_held_against_each_other(spark: Any, config: dict[str, Any], is_refused: bool):
    # Each of the two goes with TINYINT.
    kinds = {"small": "TINYINT", "whole": "BIGINT", "double": "DOUBLE"}
    frames = {name: spark.createDataFrame([], f"k {kind}, {name} INT") for name, kind in kinds.items()}
    step = join(*frames, **config)
    if not is_refused:
        assert applied(spark, step, **frames).schema["k"].dataType.simpleString() == "tinyint"
        return
    with pytest.raises(PipelineExecutionException, match="'whole' has the column 'k' as bigint, and 'double' has"):
        applied(spark, step, **frames)


def test_a_comparison_with_a_cast_says_what_is_meant(spark: Any):
    step = join("users", "texts", joinConditions=["CAST(users.id AS STRING) = texts.text"])
    frames = {"users": Table("id BIGINT", [(7,)]), "texts": Table("text STRING", [("007",), ("7",)])}
    assert_same_rows(
        applied(spark, step, **frames), "SELECT id, text FROM users, texts WHERE text = id::text", **frames
    )
