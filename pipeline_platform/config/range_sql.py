"""SQL in a run that loads several partitions: what becomes of the frames it reads, as `range_frames` has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect

from pipeline_platform.config.partitions import Partitions
from pipeline_platform.config.placeholders import partition_parts
from pipeline_platform.config.range_bounds import TIMES, VARIABLE, check_bound, is_marked, marked, most_days
from pipeline_platform.config.range_frames import EVERYTHING, Base, Joined, OneByOne, RangeFrame, Value
from pipeline_platform.config.range_scope import Scope, scope_of
from pipeline_platform.config.range_syntax import aggregates, beyond, comparisons, nested, own, parsed, tables
from pipeline_platform.config.sql import DIALECT, parse_expression, parse_query
from pipeline_platform.config.sql_limits import tables_read

TableOf = Callable[[exp.Table], RangeFrame]
_UNKNOWN = "has SQL that can't be looked into"
_ADDED: Base = ("sql",)
# What of a SELECT leaves each row to itself, or is looked at.
_KNOWN = ("with_", "expressions", "from_", "joins", "where", "group", "having", "distinct")
_HARMLESS = ("hint", "kind", "order", "sort", "cluster", "distribute")
# Truncated to one of these a time stays in its partition.
_WITHIN = {
    "hourly": ("SECOND", "MINUTE", "HOUR"),
    "daily": ("SECOND", "MINUTE", "HOUR", "DAY"),
    "weekly": ("SECOND", "MINUTE", "HOUR", "DAY"),
    "monthly": ("SECOND", "MINUTE", "HOUR", "DAY", "MONTH"),
}
_UNITS = {"DD": "DAY", "MM": "MONTH", "MON": "MONTH", "WEEK(MONDAY)": "WEEK"}
_TURNED = {exp.GT: exp.LT, exp.GTE: exp.LTE, exp.LT: exp.GT, exp.LTE: exp.GTE}


@dataclass(frozen=True)
class RangeSql:
    """SQL of a pipeline with these partitions.

    Args:
        partitions: By time.
    """

    partitions: Partitions

    def row(self, frame: RangeFrame, *texts: str) -> RangeFrame:
        """The frame after expressions about each of its rows were looked at.

        Args:
            frame: What they read.
            texts: Spark SQL expressions.

        Raises:
            OneByOne: They read other rows, or use the partition in a way that holds for one partition alone.
        """
        scope = scope_of(frame)
        for text in texts:
            if (found := parsed(text, parse_expression)) is not None:
                scope = self._checked(found, scope)
            elif frame.by or partition_parts(text):
                raise OneByOne(_UNKNOWN)
        return replace(frame, by=scope.joined.by, back=scope.joined.back)

    def value(self, frame: RangeFrame, text: str) -> Value | None:
        """What is known of an expression's value."""
        found = parsed(text, parse_expression)
        return self._value(found, scope_of(frame)) if found is not None else None

    def equal(self, joined: Joined, right: str, frame: RangeFrame, condition: str) -> list[tuple[Value, Value]]:
        """What the condition of a join makes equal."""
        found = parsed(condition, parse_expression)
        return list(self._equal(found, joined, right, frame)) if found is not None else []

    def query(self, text: str, table: TableOf, dialect: str | type[Dialect] = DIALECT) -> RangeFrame:
        """What comes of a query.

        Args:
            text: The query.
            table: What is known of each table.
            dialect: Of the SQL.

        Raises:
            OneByOne: Its rows depend on which partitions are loaded together, as far as can be told.
        """
        found = parsed(text, lambda query: parse_query(query, dialect))
        if found is None:
            raise OneByOne(_UNKNOWN)
        return self._query(found, table)

    def _query(self, node: exp.Expr, table: TableOf) -> RangeFrame:
        if not isinstance(node, exp.Select):
            inner = node.this if isinstance(node, exp.Subquery) else None
            if inner is not None and not beyond(node, ("this", "alias")):
                return self._query(inner, table)
            return self._same_in_every_run(node, table)
        try:
            return self._select(node, table)
        except OneByOne:
            if _is_same(node, table):
                return RangeFrame(_ADDED)
            raise

    def _same_in_every_run(self, node: exp.Expr, table: TableOf) -> RangeFrame:
        if not _is_same(node, table):
            raise OneByOne("combines the rows of several queries")
        return RangeFrame(_ADDED)

    def _select(self, select: exp.Select, table: TableOf) -> RangeFrame:
        if select.args.get("limit") or select.args.get("offset"):
            raise OneByOne("has a LIMIT, which is one for all partitions of a range")
        if unknown := beyond(select, (*_KNOWN, *_HARMLESS)):
            raise OneByOne(f"has a clause ({unknown[0].strip('_')}) that may be about rows of several partitions")
        table = self._with_expressions(select, table)
        scope = self._sources(select, table)
        where, having = select.args.get("where"), select.args.get("having")
        for part in (where, having, *select.expressions):
            if part is not None:
                self._check_subqueries(part, table)
                scope = self._checked(part, scope, may_aggregate=part is not where)
        for part in (select.args.get(key) for key in _HARMLESS):
            if part is not None and is_marked(part):
                raise OneByOne("sorts by the bounds of the partition")
        output = self._projected(select, scope)
        self._check_groups(select, scope)
        distinct = select.args.get("distinct")
        if distinct is not None and output.by and (distinct.args.get("on") or not output.telling()):
            raise OneByOne("has a DISTINCT over other columns than that of the partitions")
        return output

    def _with_expressions(self, select: exp.Select, table: TableOf) -> TableOf:
        with_ = select.args.get("with_")
        if with_ is None:
            return table
        if with_.recursive:
            raise OneByOne("has a recursive query")
        for one in with_.expressions:
            table = _with_name(one.alias.lower(), self._query(one.this, table), table)
        return table

    def _sources(self, select: exp.Select, table: TableOf) -> Scope:
        from_ = select.args.get("from_")
        if from_ is None:
            raise OneByOne("reads no table")
        name, frame = self._source(from_.this, table)
        joins: list[exp.Join] = select.args.get("joins") or []
        if not joins:
            return Scope(Joined({name: frame}, frame.by, frame.back), is_one=True)
        joined, first = Joined.of(name, frame), name
        for join in joins:
            name, frame = self._source(join.this, table)
            if (
                name in joined.frames
                or join.args.get("method")
                or beyond(join, ("this", "side", "kind", "on", "using"))
            ):
                raise OneByOne("has a join of a kind that can't be looked into")
            frame, on = frame.under(name), join.args.get("on")
            using = [column.name for column in join.args.get("using") or ()]
            equal = [(joined.frames[first].value(column), frame.value(column)) for column in using]
            if on is not None:
                equal += self._equal(on, joined, name, frame)
            joined = joined.join(name, frame, equal, _kind(join))
            if on is not None:
                self._check_subqueries(on, table)
                if is_marked(on):
                    # Which side has no partner would depend on the range.
                    raise OneByOne("joins on the bounds of the partition")
        return Scope(joined, is_one=False)

    def _source(self, node: exp.Expr, table: TableOf) -> tuple[str, RangeFrame]:
        if isinstance(node, exp.Table) and not beyond(node, ("this", "alias", "db", "catalog")):
            return node.alias_or_name.lower(), table(node)
        if isinstance(node, exp.Subquery) and not beyond(node, ("this", "alias")):
            return node.alias.lower(), self._query(node.this, table)
        raise OneByOne("reads something else than a table")

    def _checked(self, node: exp.Expr, scope: Scope, *, may_aggregate: bool = False) -> Scope:
        """The scope after an expression over its rows."""
        bases: list[Base] = []
        back = EVERYTHING
        for compared in comparisons(node):
            found = self._bounds(compared, scope)
            bases += [value.base for value, _ in found]
            back = min([back, *(days for _, days in found)])
        known = scope.joined.by or frozenset(bases[:1])
        if any(base not in known for base in bases):
            raise OneByOne("compares another column with the bounds than a step before it, or two columns")
        scope = scope.divided(bases, back)
        for window in own(node, exp.Window):
            scope = self._windowed(window, scope)
        if scope.joined.by and isinstance(node.unalias(), exp.Column) and node.unalias().name == VARIABLE:
            raise OneByOne("has an environment variable in place of SQL")
        if scope.joined.by and not may_aggregate and aggregates(node):
            raise OneByOne("aggregates rows without a group")
        return scope

    def _bounds(self, compared: exp.Expr, scope: Scope) -> list[tuple[Value, float]]:
        if isinstance(compared, exp.Between):
            sides = [(exp.GTE, compared.this, compared.args["low"]), (exp.LTE, compared.this, compared.args["high"])]
        else:
            sides = [(type(compared), compared.this, compared.expression)]
        found: list[tuple[Value, float]] = []
        for operator, left, right in sides:
            if is_marked(left) and operator in _TURNED and not isinstance(compared, exp.Between):
                operator, left, right = _TURNED[operator], right, left
            if not is_marked(left) and not is_marked(right):
                continue
            value = self._value(left, scope)
            days = check_bound(operator, value, right, self.partitions) if not is_marked(left) else None
            if value is None or days is None:
                shown = marked(compared.sql(dialect=DIALECT))
                raise OneByOne(f"has the condition {shown}, which may be another one for several partitions")
            found.append((value, days))
        return found

    def _windowed(self, window: exp.Expr, scope: Scope) -> Scope:
        if not scope.joined.by:
            return scope
        groups: list[exp.Expr] = window.args.get("partition_by") or []
        if any(scope.frame.tells(self._value(group, scope)) for group in groups):
            return scope
        reach = self._reach(window, scope)
        if reach is None or reach > scope.joined.back:
            raise OneByOne("has a window function over rows of several partitions")
        return replace(scope, joined=replace(scope.joined, back=scope.joined.back - reach))

    def _reach(self, window: exp.Expr, scope: Scope) -> float | None:
        """How many days before its own row a window reaches at most; None if it may reach to any row."""
        spec, order = window.args.get("spec"), window.args.get("order")
        if spec is None or order is None or len(order.expressions) != 1 or str(spec.args.get("kind")) != "RANGE":
            return None
        ordered, start = order.expressions[0], spec.args.get("start")
        if ordered.args.get("desc") or str(spec.args.get("end")) != "CURRENT ROW":
            return None
        value = self._value(ordered.this, scope)
        if value is None or not scope.frame.tells(value):
            return None
        if start == "CURRENT ROW":
            return 0
        is_before = isinstance(start, exp.Expr) and spec.args.get("start_side") == "PRECEDING"
        if not is_before or not (value.is_date or isinstance(start, exp.Interval)):
            return None
        days = most_days(start)
        return days if days is not None and days >= 0 else None

    def _check_subqueries(self, node: exp.Expr, table: TableOf) -> None:
        for query in nested(node):
            if not _is_same(query, table):
                raise OneByOne("has a subquery over rows that the partition chose")

    def _check_groups(self, select: exp.Select, scope: Scope) -> None:
        group = select.args.get("group")
        is_whole = any(aggregates(part) for part in select.expressions)
        if not scope.joined.by or (group is None and not is_whole and select.args.get("having") is None):
            return
        if group is None:
            raise OneByOne("makes one row of all rows")
        if is_marked(group) or beyond(group, ("expressions",)):
            raise OneByOne("groups by several sets of columns, or by ALL")
        if not any(scope.frame.tells(self._group(select, one, scope)) for one in group.expressions):
            shown = ", ".join(one.sql(dialect=DIALECT) for one in group.expressions)
            raise OneByOne(f"groups by {shown}, and not by the column of the partitions")

    def _group(self, select: exp.Select, node: exp.Expr, scope: Scope) -> Value | None:
        if isinstance(node, exp.Literal) and not node.is_string:
            place = int(node.name) - 1 if node.name.isdecimal() else -1
            items = select.expressions
            is_there = 0 <= place < len(items) and not any(item.is_star for item in items[: place + 1])
            return self._value(items[place], scope) if is_there else None
        value = self._value(node, scope)
        if scope.frame.tells(value) or not isinstance(node, exp.Column) or len(node.parts) > 1:
            return value
        same = [
            item
            for item in select.expressions
            if isinstance(item, exp.Alias) and item.alias.lower() == node.name.lower()
        ]
        return self._value(same[0], scope) if same else value

    def _projected(self, select: exp.Select, scope: Scope) -> RangeFrame:
        output = RangeFrame(None)
        stars = [item for item in select.expressions if item.is_star]
        for item in stars:
            output = self._starred(item, scope) if len(stars) == 1 else scope.joined.output(_ADDED)
            star = item.this if isinstance(item, exp.Column) else item
            for name in star.args.get("except_") or ():
                output = output.with_column(name.name, None)
            if star.args.get("replace") or star.args.get("rename"):
                raise OneByOne("replaces columns of a '*'")
        for item in select.expressions:
            if not item.is_star and item.alias_or_name:
                output = output.with_column(item.alias_or_name, self._value(item, scope))
        return replace(output, by=scope.joined.by, back=scope.joined.back)

    def _starred(self, item: exp.Expr, scope: Scope) -> RangeFrame:
        if isinstance(item, exp.Column) and item.table.lower() in scope.joined.frames:
            return scope.joined.frames[item.table.lower()]
        return scope.frame if scope.is_one else scope.joined.output(_ADDED)

    def _equal(self, on: exp.Expr, joined: Joined, right: str, frame: RangeFrame) -> Iterator[tuple[Value, Value]]:
        scope = Scope(Joined({**joined.frames, right: frame}), is_one=False)
        pending = [on]
        while pending:
            part = pending.pop()
            if isinstance(part, (exp.Paren, exp.And)):
                pending += list(part.iter_expressions())
            elif isinstance(part, (exp.EQ, exp.NullSafeEQ)):
                for one, other in ((part.this, part.expression), (part.expression, part.this)):
                    left, of_right = self._value(one, scope), self._value(other, scope)
                    sides = [tables(one), tables(other)]
                    if left and of_right and right not in sides[0] and sides[1] == {right} and "" not in sides[0]:
                        yield left, of_right

    def _value(self, node: exp.Expr, scope: Scope) -> Value | None:
        """What is known of an expression; None for one that may lie in another partition than its column."""
        match node:
            case exp.Paren() | exp.Alias():
                return self._value(node.this, scope)
            case exp.Column() if not node.is_star:
                return scope.column(node)
            case exp.Cast() if node.to.this.name == "DATE":
                return self._truncated(node.this, "DAY", scope, is_date=True)
            case exp.Cast() if node.to.this.name in TIMES:
                return self._truncated(node.this, "SECOND", scope)
            case exp.TsOrDsToDate() if node.args.get("format") is None:
                return self._truncated(node.this, "DAY", scope, is_date=True)
            case exp.DateTrunc() | exp.TimestampTrunc():
                unit = node.text("unit").upper()
                return self._truncated(node.this, _UNITS.get(unit, unit), scope)
            case _:
                return None

    def _truncated(self, node: exp.Expr, unit: str, scope: Scope, *, is_date: bool = False) -> Value | None:
        partitions = self.partitions
        value = self._value(node, scope)
        # A day of the session, which is in UTC, is none of another zone.
        if value is None or partitions.timezone != "UTC":
            return None
        is_week = unit == "WEEK" and partitions.type == "weekly" and partitions.first.weekday() == 0
        is_within = unit in _WITHIN[partitions.type] or is_week
        return Value(value.base, is_date) if is_within else None


def _kind(join: exp.Join) -> str:
    """As `Joined.join` has it."""
    kind = join.kind.lower()
    return kind if kind in ("semi", "anti", "cross") else join.side.lower() or "inner"


def _is_same(node: exp.Expr, table: TableOf) -> bool:
    """Whether a query gives the same in every run: it names no bound, and reads nothing that they chose."""
    return not is_marked(node) and not any(table(one).by for one in tables_read(node))


def _with_name(name: str, frame: RangeFrame, others: TableOf) -> TableOf:
    return lambda table: frame if table.name.lower() == name and not table.args.get("db") else others(table)
