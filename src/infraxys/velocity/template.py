"""Templates that can be rendered, and the short way from a text to its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infraxys.velocity.compiler import Deferred, Unit, compile_tree
from infraxys.velocity.errors import LimitError, Source, VelocityError
from infraxys.velocity.limits import ACCOUNT, Budget, Limits
from infraxys.velocity.parser import parse
from infraxys.velocity.runtime import Break, Runtime, Stop
from infraxys.velocity.values import joined

if TYPE_CHECKING:
    from infraxys.velocity.nodes import Tree

DEFAULT_LIMITS = Limits()
NESTED_COST = 100  # steps that a render inside another one costs: it is more work than a loop's round


@dataclass(frozen=True, slots=True)
class Result:
    """What a render gives, also when it ended with #stop: the text, and the variables as they are afterwards.

    `variables` has those of the context as well; `assigned` has just what the template set.
    """

    text: str
    variables: Mapping[str, object]
    assigned: Mapping[str, object]


class Variables(Mapping[str, object]):
    """The variables after a render, over those of the context. A block of #define is its text."""

    __slots__ = ("_assigned", "_context")

    def __init__(self, assigned: Mapping[str, object], context: Mapping[str, object]) -> None:
        self._assigned = assigned
        self._context = context

    def __getitem__(self, name: str) -> object:
        value = self._assigned[name] if name in self._assigned else self._context[name]
        return value.toString() if isinstance(value, Deferred) else value

    def __contains__(self, name: object) -> bool:
        return name in self._assigned or name in self._context

    def __iter__(self) -> Iterator[str]:
        yield from self._assigned
        yield from (name for name in self._context if name not in self._assigned)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Template:
    """A parsed template. It never changes, so threads can share it."""

    __slots__ = ("_tree", "_units", "name")

    def __init__(self, tree: Tree) -> None:
        self.name = tree.source.name
        self._tree = tree
        self._units: dict[bool, Unit] = {}

    @property
    def length(self) -> int:
        """How many characters the text has, and one more."""
        return len(self._tree.source.text) + 1

    def __repr__(self) -> str:
        return f"Template({self.name!r})"

    def _unit(self, *, strict: bool) -> Unit:
        unit = self._units.get(strict)
        if unit is None:
            # Two threads may both compile; either result is good.
            unit = self._units[strict] = compile_tree(self._tree, strict=strict)
        return unit

    def render(
        self,
        context: Mapping[str, object],
        *,
        strict: bool = True,
        files: Mapping[str, str] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Result:
        """Render with the variables of `context`, which is read lazily, one name at a time, and never changed.

        `files` has the texts for #parse and #include by name. A render inside another one, started by a method of the
        host, shares that one's limits.

        Raises:
            VelocityError: the template cannot be rendered; says where and why.

        """
        outer = ACCOUNT.get()
        budget, depth = (Budget(limits), 0) if outer is None else (outer[0], outer[1] + 1)
        source = self._tree.source
        if depth > budget.limits.render_depth:
            error = LimitError(f"Templates render one another more than {depth - 1} levels deep")
            raise error.locate(source, 0)
        runtime = Runtime(context, files if files is not None else {}, budget, strict=strict)
        token = ACCOUNT.set((budget, depth))
        try:
            if depth:
                budget.spend(NESTED_COST)
            return self._run(runtime, source)
        except VelocityError as error:
            error.locate(source, 0)
            raise
        except RecursionError:
            raise LimitError("The template calls too deeply").locate(source, 0) from None
        finally:
            ACCOUNT.reset(token)

    def _run(self, runtime: Runtime, source: Source) -> Result:
        unit = self._unit(strict=runtime.strict)
        runtime.macros = unit.macros
        scope = runtime.scope
        with suppress(Stop, Break):
            unit.body(runtime)
        limit = runtime.budget.limits.output
        if sum(map(len, runtime.out)) > limit:
            raise LimitError(f"The result is longer than {limit:,} characters").locate(source, 0)
        assigned = scope.own()
        return Result(joined("".join(runtime.out)), Variables(assigned, runtime.context), Variables(assigned, {}))


def compile(text: str, name: str = "template") -> Template:  # noqa: A001 - velocity.compile() reads as what it does
    """Parse a template; `name` stands in its errors.

    Raises:
        VelocityParseError: the text is no template; says where and why.

    """
    return Template(parse(text, name))


def render(
    template: str,
    context: Mapping[str, object],
    *,
    strict: bool = True,
    name: str = "template",
    files: Mapping[str, str] | None = None,
) -> str:
    """Parse and render a template once; see `compile` and `Template.render`."""
    return compile(template, name).render(context, strict=strict, files=files).text
