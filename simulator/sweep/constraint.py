"""A condition that points have to meet: comparisons of axes with numbers, quantities and each other.

    cache.frac <= 0.5
    batch * 2 <= 32 and system != "fiddler"
    link.h2d.bandwidth >= "20 GB/s"
    eviction in ["lru", "lfu"]

The text is parsed as a Python expression and walked; nothing of it is ever run. What may stand in it: names of axes,
numbers, texts, lists of these, `null`, + - * /, comparisons, `in`, `and`, `or`, `not`. A text with a unit is a quantity.
"""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from hardware_profiles.quantity import Dimension, parse_quantity
from hardware_profiles.suggest import one_of
from simulator.workload.quantities import parse_rate, parse_span_ns

_MAX_CHARACTERS = 1000
_ORDERED: Mapping[type, Callable[[Fraction, Fraction], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: Mapping[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_NULLS = ("null", "None")


@dataclass(frozen=True, slots=True)
class _Quantity:
    """A number of some dimension; that of plain numbers is empty."""

    number: Fraction
    dimension: str = ""


_Value = _Quantity | str | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A condition, as it was written."""

    text: str
    tree: ast.expr

    def allows(self, labels: Mapping[str, object]) -> bool:
        """Tell whether a point meets the condition. Raises ValueError where what is compared cannot be."""
        return _truth(self.tree, labels)


def parse_constraint(text: object, axes: Sequence[str]) -> Constraint:
    """Read a condition on axes. Raises ValueError, saying what may not stand in it."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no text; write it in quotes")
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"is longer than {_MAX_CHARACTERS} characters; divide it into several")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        faults = list(_faults(tree, axes))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{text!r} is no comparison; write one such as cache.frac <= 0.5") from None
    if faults:
        raise ValueError(f"{text!r}: {faults[0]}")
    if not isinstance(tree, ast.Compare | ast.BoolOp) and not _is_not(tree):
        raise ValueError(f"{text!r} is no comparison; write one such as cache.frac <= 0.5")
    return Constraint(text=text, tree=tree)


def _is_not(tree: ast.expr) -> bool:
    return isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not)


def _faults(tree: ast.expr, axes: Sequence[str]) -> Iterator[str]:
    """Yield what may not stand in a condition."""
    match tree:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return
        case ast.Name() | ast.Attribute():
            name = _name(tree)
            if name is None:
                yield f"{ast.unparse(tree)!r} may not stand in a condition; names of axes may"
            elif name not in axes and name not in _NULLS:
                yield f"{name!r} is no axis; {one_of(name, axes)}; texts are written in quotes"
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.BoolOp(values=parts):
            for part in parts:
                yield from _faults(part, axes)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield from _faults(operand, axes)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            yield from _faults(left, axes)
            yield from _faults(right, axes)
        case ast.Compare(left=left, comparators=others, ops=ops):
            known = (*_ORDERED, ast.Eq, ast.NotEq, ast.In, ast.NotIn)
            if not all(isinstance(op, known) for op in ops):
                yield "compares by identity; write == or !="
            for part in (left, *others):
                yield from _faults(part, axes)
        case _:
            yield f"{ast.unparse(tree)!r} may not stand in a condition; comparisons, + - * /, in, and, or, not may"


def _name(tree: ast.expr) -> str | None:
    """Return the dotted name that a tree spells."""
    if isinstance(tree, ast.Name):
        return tree.id
    if isinstance(tree, ast.Attribute) and (before := _name(tree.value)) is not None:
        return f"{before}.{tree.attr}"
    return None


def _truth(tree: ast.expr, labels: Mapping[str, object]) -> bool:
    match tree:
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_truth(part, labels) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_truth(part, labels) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _truth(operand, labels)
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [left, *others]
            return all(_holds(op, sides[place], sides[place + 1], labels) for place, op in enumerate(ops))
    value = _value(tree, labels)
    if not isinstance(value, bool):
        raise ValueError(f"{ast.unparse(tree)} is {_shown(value)}, neither true nor false; compare it with something")
    return value


def _holds(op: ast.cmpop, left: ast.expr, right: ast.expr, labels: Mapping[str, object]) -> bool:
    if isinstance(op, ast.In | ast.NotIn):
        if not isinstance(right, ast.List | ast.Tuple):
            raise ValueError(f"in needs a list behind it, and {ast.unparse(right)} is none; write [...]")
        value = _value(left, labels)
        is_in = any(_are_equal(value, _value(part, labels)) for part in right.elts)
        return is_in == isinstance(op, ast.In)
    one, other = _value(left, labels), _value(right, labels)
    if isinstance(op, ast.Eq | ast.NotEq):
        return _are_equal(one, other) == isinstance(op, ast.Eq)
    if not isinstance(one, _Quantity) or not isinstance(other, _Quantity) or one.dimension != other.dimension:
        raise ValueError(f"{_shown(one)} and {_shown(other)} have no order; compare them with ==, or in the same unit")
    return _ORDERED[type(op)](one.number, other.number)


def _are_equal(one: _Value, other: _Value) -> bool:
    return type(one) is type(other) and one == other


def _value(tree: ast.expr, labels: Mapping[str, object]) -> _Value:
    match tree:
        case ast.Constant(value=value):
            return _read(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = _number(operand, labels)
            return _Quantity(-number.number, number.dimension)
        case ast.BinOp(left=left, op=op, right=right):
            return _calculated(op, _number(left, labels), _number(right, labels), ast.unparse(tree))
        case ast.Name() | ast.Attribute():
            name = _name(tree)
            assert name is not None
            return None if name in _NULLS else _read(labels[name])
    return _truth(tree, labels)


def _number(tree: ast.expr, labels: Mapping[str, object]) -> _Quantity:
    value = _value(tree, labels)
    if not isinstance(value, _Quantity):
        raise ValueError(f"{ast.unparse(tree)} is {_shown(value)}, and cannot be calculated with")
    return value


def _calculated(op: ast.operator, one: _Quantity, other: _Quantity, text: str) -> _Quantity:
    """Return a sum of the same dimension, or a product or quotient; of two dimensions there is only the quotient of one."""
    dimension = one.dimension or other.dimension
    if isinstance(op, ast.Add | ast.Sub):
        if one.dimension != other.dimension:
            raise ValueError(f"{text} adds {one.dimension or 'a number'} and {other.dimension or 'a number'}")
    elif isinstance(op, ast.Div) and one.dimension == other.dimension:
        dimension = ""
    elif (one.dimension and other.dimension) or (isinstance(op, ast.Div) and other.dimension):
        raise ValueError(f"{text} is of no dimension that can be compared")
    if isinstance(op, ast.Div) and not other.number:
        raise ValueError(f"{text} divides by 0")
    return _Quantity(_ARITHMETIC[type(op)](one.number, other.number), dimension)


def _read(value: object) -> _Value:
    """Return what a value means: a number, a quantity where it is a text with a unit, or a text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _Quantity(Fraction(repr(value)))
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return str(value["name"])
    text = str(value)
    for name, parse in (("requests/s", parse_rate), ("s", _seconds)):
        try:
            return _Quantity(Fraction(parse(text)), name)
        except ValueError:
            continue
    for dimension in Dimension:
        try:
            return _Quantity(Fraction(parse_quantity(text, dimension)), dimension.value)
        except ValueError:
            continue
    return text


def _seconds(text: str) -> Decimal:
    return Decimal(parse_span_ns(text)) / 10**9


def _shown(value: _Value) -> str:
    if isinstance(value, _Quantity):
        return f"{float(value.number):g}{f' {value.dimension}' if value.dimension else ''}"
    return "null" if value is None else repr(value)
