"""The tree that the parser makes and the compiler reads. Offsets count characters of the node's own `Source`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from infraxys.velocity.errors import Source


@dataclass(frozen=True, slots=True)
class Text:
    """Output as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Property:
    """`.name` of a reference."""

    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class Call:
    """`.name(arguments)` of a reference."""

    name: str
    arguments: tuple[Expression, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Index:
    """`[argument]` of a reference."""

    argument: Expression
    offset: int


Step: TypeAlias = Property | Call | Index


@dataclass(frozen=True, slots=True)
class Reference:
    """`$root.step...`; `text` is its source without leading backslashes, `offset` is where these start."""

    offset: int
    text: str
    root: str
    steps: tuple[Step, ...] = ()
    quiet: bool = False
    backslashes: int = 0

    @property
    def name(self) -> str:
        """What #set, #define and #macro call the variable: as in the original, `${x}` names another one than `$x`."""
        return self.text[1:] if not self.steps else self.root


@dataclass(frozen=True, slots=True)
class Literal:
    """A value known at parse time. Only `true` is true: a literal string or number alone is false in an #if."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Interpolated:
    """A double-quoted string that is a template of its own."""

    body: Block
    source: Source


@dataclass(frozen=True, slots=True)
class ListLiteral:
    """`[a, b]`."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class MapLiteral:
    """`{k: v}`."""

    pairs: tuple[tuple[Expression, Expression], ...]


@dataclass(frozen=True, slots=True)
class Range:
    """`[first..last]`."""

    first: Expression
    last: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    """`left operator right`; the texts stand in for a null operand of a sum, `offset` is behind the operator."""

    operator: str
    left: Expression
    right: Expression
    left_text: str
    right_text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Logical:
    """`left and right` or `left or right`."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Not:
    """`!operand`."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Group:
    """`(inside)`."""

    inside: Expression


Expression: TypeAlias = (
    Group | Reference | Literal | Interpolated | ListLiteral | MapLiteral | Range | Binary | Logical | Not
)


@dataclass(frozen=True, slots=True)
class Set:
    """`#set(target = value)`; below an #if, strict mode allows a value that is just an unset variable."""

    target: Reference
    value: Expression
    offset: int
    inside_if: bool


@dataclass(frozen=True, slots=True)
class If:
    """`#if`, its `#elseif`s and its `#else`."""

    branches: tuple[tuple[Expression, Block], ...]
    otherwise: Block
    offset: int


@dataclass(frozen=True, slots=True)
class Foreach:
    """`#foreach(variable in items) body #end`; `weight` is what a round costs in steps."""

    variable: str
    items: Expression
    items_text: str
    items_offset: int
    body: Block
    weight: int
    offset: int


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a macro call, kept as an expression: a macro evaluates it at each use."""

    value: Expression
    text: str
    offset: int
    word: bool = False


@dataclass(frozen=True, slots=True)
class MacroCall:
    """`#name`, `#name(arguments)` or `#@name(arguments) body #end`; just text when no such macro exists."""

    name: str
    arguments: tuple[Argument, ...]
    body: Block | None
    weight: int
    text: str
    parenthesised: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Define:
    """`#define($name) body #end`."""

    name: str
    body: Block
    weight: int
    offset: int


@dataclass(frozen=True, slots=True)
class Parse:
    """`#parse(name)`."""

    argument: Expression
    offset: int


@dataclass(frozen=True, slots=True)
class Include:
    """`#include(names)`."""

    arguments: tuple[Expression, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Evaluate:
    """`#evaluate(text)`."""

    argument: Expression
    offset: int


@dataclass(frozen=True, slots=True)
class Break:
    """`#break` or `#break($foreach.parent)`."""

    scope: Expression | None
    offset: int


@dataclass(frozen=True, slots=True)
class Stop:
    """`#stop`."""

    offset: int


Node: TypeAlias = Text | Reference | Set | If | Foreach | MacroCall | Define | Parse | Include | Evaluate | Break | Stop
Block: TypeAlias = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MacroDefinition:
    """`#macro(name $parameters) body #end`."""

    name: str
    parameters: tuple[str, ...]
    body: Block
    weight: int
    source: Source


@dataclass(slots=True)
class Tree:
    """A parsed template."""

    source: Source
    body: Block = ()
    weight: int = 1
    macros: dict[str, MacroDefinition] = field(default_factory=dict)
