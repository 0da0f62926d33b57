"""SCIM filters as SQL conditions. scim2-models parses and type-checks them; here each attribute gets its column.

What an attribute is called comes from the schema, and every value is bound: no text of a filter reaches the SQL.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel as PydanticModel
from scim2_models import EnterpriseUser, InvalidFilterException, Resource, ScimFilter
from scim2_models.path import (
    AttributeBinding,
    AttrPath,
    CompareOperator,
    Comparison,
    FilterVisitor,
    LogicalExpr,
    LogicalOperator,
    Not,
    Present,
    ValuePath,
)
from scim2_models.path.resolution import coerce_value

from ragecho.identity.scim.model import Condition

LONGEST_FILTER = 2000
# Attributes with columns or tables of their own; `{op}` is replaced by the comparison.
USER_COLUMNS = {
    "id": "s.user_id::text",
    "userName": "s.user_name",
    "externalId": "s.external_id",
    "active": "(m.suspended_at is null and not u.is_disabled)",
    "meta.created": "s.created_at",
    "meta.lastModified": "s.updated_at",
}
GROUP_COLUMNS = {
    "id": "g.id::text",
    "displayName": "g.name",
    "externalId": "g.external_id",
    "meta.created": "g.created_at",
    "meta.lastModified": "g.updated_at",
}
# Neither kept nor told: a condition on it would be answered wrongly.
_NOT_KEPT = frozenset({"schemas", "password", "meta"})
GROUP_MEMBERS = "select gm.user_id::text as value from group_members gm where gm.group_id = g.id"
USER_GROUPS = "select gm.group_id::text as value from group_members gm where gm.user_id = s.user_id"


class Columns:
    """Where the attributes of one kind of resource are: in columns, in sub-queries (by name), or in a JSON document."""

    def __init__(self, columns: Mapping[str, str], lists: Mapping[str, str], document: str | None) -> None:
        self.columns = columns
        self.lists = lists
        self.document = document


USERS = Columns(USER_COLUMNS, {"groups": USER_GROUPS}, "s.resource")
GROUPS = Columns(GROUP_COLUMNS, {"members": GROUP_MEMBERS}, None)


def condition_of(model: type[Resource[Any]], columns: Columns, text: str) -> Condition:
    """Return the filter as a condition. Raises `InvalidFilterException`."""
    if len(text) > LONGEST_FILTER:
        raise InvalidFilterException(detail=f"A filter has at most {LONGEST_FILTER} characters.")
    try:
        parsed: ScimFilter[Any] = ScimFilter[model](text)  # type: ignore[valid-type]  # bound at run time, as documented
        visitor = _ToSql(parsed, columns)
        return Condition(visitor.visit(parsed.ast), visitor.values)
    except RecursionError as error:
        raise InvalidFilterException(detail="The filter is nested too deeply.") from error


def order_of(model: type[Resource[Any]], columns: Columns, path: str) -> Condition:
    """Return what to sort by. Raises `InvalidFilterException` for what cannot be sorted by."""
    parsed: ScimFilter[Any] = ScimFilter[model](f"{path} pr")  # type: ignore[valid-type]  # bound at run time
    node = parsed.ast
    if not isinstance(node, Present):
        raise InvalidFilterException(detail="sortBy names one attribute.")
    visitor = _ToSql(parsed, columns)
    binding = parsed.resolve_comparison(node.attr_path)
    if binding is None or binding.is_multivalued:
        raise InvalidFilterException(detail=f"Sorting by {path} is not supported.")
    expression = visitor.scalar(binding)
    return Condition(expression if binding.case_exact else f"lower(({expression})::text)", visitor.values)


class _ToSql(FilterVisitor[str]):
    """Every method returns SQL that is true or false, never null."""

    def __init__(self, parsed: ScimFilter[Any], columns: Columns) -> None:
        self._filter = parsed
        self._columns = columns
        self.values: dict[str, Any] = {}

    def visit_logical_expr(self, node: LogicalExpr) -> str:
        joiner = " and " if node.op == LogicalOperator.and_ else " or "
        return f"({joiner.join(self.visit(term) for term in node.terms)})"

    def visit_not(self, node: Not) -> str:
        return f"(not {self.visit(node.expr)})"

    def visit_present(self, node: Present) -> str:
        binding = self._bound(node.attr_path, is_comparison=False)
        if binding.is_multivalued:
            return self._any(binding, lambda _entry: "true")
        if _is_complex(binding) and binding.sub_field_name is None:
            return f"({self._document(binding)} ? {self._bind(self._names(binding)[-1])})"
        return f"coalesce(({self.scalar(binding)})::text <> '', false)"

    def visit_comparison(self, node: Comparison) -> str:
        binding = self._bound(node.attr_path, is_comparison=True)
        value = coerce_value(binding, node.value, node.op)
        if not binding.is_multivalued:
            return self._compare(self.scalar(binding), binding, node.op, value)
        if node.op == CompareOperator.ne:  # no value equals it
            equal = self._any(binding, lambda entry: self._compare(entry, binding, CompareOperator.eq, value))
            return f"(not {equal})"
        return self._any(binding, lambda entry: self._compare(entry, binding, node.op, value))

    def visit_value_path(self, node: ValuePath) -> str:
        binding = self._bound(node.attr_path, is_comparison=False)
        item = binding.field_type
        if not isinstance(item, type) or not issubclass(item, PydanticModel) or not binding.is_multivalued:
            raise InvalidFilterException(detail=f"Selecting in {node.attr_path} is not supported.")
        inner = _InEntry(self, item)
        return self._exists(binding, inner.visit(node.val_filter))

    def scalar(self, binding: AttributeBinding) -> str:
        """Return the expression of a single value."""
        names = self._names(binding)
        column = self._columns.columns.get(".".join(names))
        if column is not None:
            return column
        if (
            self._columns.document is None
            or names[0] in _NOT_KEPT
            or (_is_complex(binding) and binding.sub_field_name is None)
        ):
            raise InvalidFilterException(detail=f"Filtering by {'.'.join(names)} is not supported.")
        if binding.model is EnterpriseUser:
            names = [str(EnterpriseUser.__schema__), *names]
        return f"({self._columns.document} #>> cast({self._bind(names)} as text[]))"

    def _any(self, binding: AttributeBinding, condition: Callable[[str], str]) -> str:
        sub = (
            binding.target_model._scim_name(binding.sub_field_name)
            if binding.sub_field_name and binding.target_model
            else "value"
        )
        if self._names(binding)[0] in self._columns.lists:
            if sub != "value":
                raise InvalidFilterException(detail=f"Filtering by {binding.field_name}.{sub} is not supported.")
            return self._exists(binding, condition("entry.value"))
        return self._exists(binding, condition(f"(entry.value ->> {self._bind(sub)})"))

    def _exists(self, binding: AttributeBinding, condition: str) -> str:
        name = self._names(binding)[0]
        listed = self._columns.lists.get(name)
        if listed is not None:
            return f"exists (select from ({listed}) entry where {condition})"
        if self._columns.document is None or name in _NOT_KEPT:
            raise InvalidFilterException(detail=f"Filtering by {name} is not supported.")
        entries = f"coalesce({self._columns.document} -> {self._bind(name)}, '[]')"
        return f"exists (select from jsonb_array_elements({entries}) entry (value) where {condition})"

    def _compare(self, expression: str, binding: AttributeBinding, op: CompareOperator, value: Any) -> str:
        if value is None:
            is_null = f"(({expression}) is null)"
            return is_null if op == CompareOperator.eq else f"(not {is_null})"
        if isinstance(value, bool):
            return _equality(f"({expression})::boolean", self._bind(value), op)
        if isinstance(value, datetime):
            return (
                f"coalesce(({expression})::timestamptz {_ordering(op)} cast({self._bind(value)} as timestamptz), false)"
            )
        if not isinstance(value, str):
            raise InvalidFilterException(detail="Only texts, times, true, false and null can be compared.")
        bound = f"cast({self._bind(value)} as text)"
        if not binding.case_exact:
            expression, bound = f"lower({expression})", f"lower({bound})"
        return _text_comparison(expression, bound, op)

    def _names(self, binding: AttributeBinding) -> list[str]:
        names = [binding.model._scim_name(binding.field_name)]
        if binding.sub_field_name and binding.target_model:
            names.append(binding.target_model._scim_name(binding.sub_field_name))
        return names

    def _document(self, binding: AttributeBinding) -> str:
        if self._columns.document is None:
            raise InvalidFilterException(detail=f"Filtering by {binding.field_name} is not supported.")
        if binding.model is EnterpriseUser:
            return f"({self._columns.document} -> {self._bind(str(EnterpriseUser.__schema__))})"
        return self._columns.document

    def _bound(self, path: AttrPath, *, is_comparison: bool) -> AttributeBinding:
        resolve = self._filter.resolve_comparison if is_comparison else self._filter.resolve
        found = resolve(path)
        if found is None:
            raise InvalidFilterException(detail=f"There is no attribute {path}.")
        return found

    def _bind(self, value: Any) -> str:
        name = f"f{len(self.values)}"
        self.values[name] = value
        return f":{name}"


class _InEntry(FilterVisitor[str]):
    """What stands in brackets, about one entry of a list: `entry.value` is a JSON object."""

    def __init__(self, outer: _ToSql, item: type[PydanticModel]) -> None:
        self._outer = outer
        self._item: Any = item

    def visit_logical_expr(self, node: LogicalExpr) -> str:
        joiner = " and " if node.op == LogicalOperator.and_ else " or "
        return f"({joiner.join(self.visit(term) for term in node.terms)})"

    def visit_not(self, node: Not) -> str:
        return f"(not {self.visit(node.expr)})"

    def visit_present(self, node: Present) -> str:
        return f"coalesce({self._expression(self._binding(node.attr_path))} <> '', false)"

    def visit_comparison(self, node: Comparison) -> str:
        binding = self._binding(node.attr_path)
        value = coerce_value(binding, node.value, node.op)
        return self._outer._compare(self._expression(binding), binding, node.op, value)

    def visit_value_path(self, node: ValuePath) -> str:
        raise InvalidFilterException(detail="Brackets do not stand in brackets.")

    def _binding(self, path: AttrPath) -> AttributeBinding:
        for name in self._item.model_fields:
            if self._item._scim_name(name).lower() == path.attr.lower() and not path.sub_attr:
                kind = self._item.get_field_root_type(name)
                return AttributeBinding(self._item, name, kind, is_multivalued=False)
        raise InvalidFilterException(detail=f"There is no attribute {path} there.")

    def _expression(self, binding: AttributeBinding) -> str:
        name = self._item._scim_name(binding.field_name)
        return f"(entry.value ->> {self._outer._bind(name)})"


def _is_complex(binding: AttributeBinding) -> bool:
    return isinstance(binding.field_type, type) and issubclass(binding.field_type, PydanticModel)


def _equality(expression: str, bound: str, op: CompareOperator) -> str:
    if op == CompareOperator.eq:
        return f"coalesce({expression} = {bound}, false)"
    if op == CompareOperator.ne:
        return f"coalesce({expression} <> {bound}, true)"
    raise InvalidFilterException(detail="True and false are compared with eq and ne.")


def _ordering(op: CompareOperator) -> str:
    operators = {
        CompareOperator.eq: "=",
        CompareOperator.ne: "<>",
        CompareOperator.gt: ">",
        CompareOperator.ge: ">=",
        CompareOperator.lt: "<",
        CompareOperator.le: "<=",
    }
    if op not in operators:
        raise InvalidFilterException(detail="That operator is for texts.")
    return operators[op]


def _text_comparison(expression: str, bound: str, op: CompareOperator) -> str:
    if op == CompareOperator.ne:
        return f"coalesce({expression} <> {bound}, true)"
    if op == CompareOperator.co:
        return f"coalesce(strpos({expression}, {bound}) > 0, false)"
    if op == CompareOperator.sw:
        return f"coalesce(starts_with({expression}, {bound}), false)"
    if op == CompareOperator.ew:
        return f"coalesce(right({expression}, length({bound})) = {bound}, false)"
    return f'coalesce({expression} collate "C" {_ordering(op)} {bound}, false)'
