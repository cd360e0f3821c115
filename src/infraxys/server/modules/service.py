"""Registered modules: which repositories the server knows, at which commits their branches are served."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from infraxys.kit.clock import new_id, utc_now
from infraxys.resources.edit import Author, Change
from infraxys.resources.errors import ResourceError
from infraxys.resources.store import Closure, FetchedModule, ModuleStore
from infraxys.server.audit.trail import FAILED, record
from infraxys.server.db.engine import Database
from infraxys.server.db.tables import module_branches, modules
from infraxys.server.errors import Conflict, NotFound, Problem, Unprocessable
from infraxys.spec.identity import BranchPath, ModuleId
from infraxys.spec.problem import Problem as FileProblem

log = logging.getLogger(__name__)
HOSTED = "hosted:"
SHOWN_BRANCHES = 10
ATTEMPTS = 10  # at a commit on a branch that others move at the same time
EXAMPLE = BranchPath(ModuleId("local", "infraxys", "getting-started"), "main")


class UnknownModule(NotFound):
    """No such module is registered."""

    code = "unknown_module"


class CannotFetch(Unprocessable):
    """A repository cannot be had."""

    code = "cannot_fetch"


class CannotPush(Conflict):
    """The remote of a module does not take commits, or not these."""

    code = "push_rejected"


class EditsAreOff(Conflict):
    """This server changes no modules: who wants that goes through Git."""

    code = "edits_disabled"

    def __init__(self) -> None:
        super().__init__("this server changes no modules (setting edits); commit and push with Git")


class BranchMoved(Conflict):
    """Somebody else moves the branch all the time."""

    code = "branch_moved"


class ModuleConflict(Conflict):
    """Another repository is registered under the same name."""

    code = "module_conflict"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What adding or fetching a module brought."""

    module: ModuleId
    closure: Closure

    @property
    def root(self) -> FetchedModule:
        """The module that was asked for."""
        return self.closure.modules[self.module]


@dataclass(frozen=True, slots=True)
class Commit:
    """What is to be committed: files, and a message. Nothing is where there are no changes."""

    changes: tuple[Change, ...]
    message: str


def read_heads(connection: Connection) -> dict[BranchPath, str]:
    """Give the commit of every registered branch."""
    query = sa.select(modules.c.name, module_branches.c.branch, module_branches.c.head).join(
        module_branches, module_branches.c.module_id == modules.c.id
    )
    return {BranchPath(ModuleId.parse(row.name), row.branch): row.head for row in connection.execute(query)}


class Modules:
    """Adds, fetches, changes, lists and removes modules. `on_change` is told the new heads.

    Without `edits`, nothing is committed.
    """

    def __init__(
        self,
        database: Database,
        store: ModuleStore,
        on_change: Callable[[Mapping[BranchPath, str]], None],
        *,
        edits: bool = True,
    ) -> None:
        self._database, self._store, self._on_change, self._edits = database, store, on_change, edits
        self._lock = asyncio.Lock()
        self._serving = asyncio.Lock()  # heads are told in the order in which they were written
        self._committing: defaultdict[ModuleId, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def load(self) -> Collection[BranchPath]:
        """Serve what is registered, and give it."""
        heads = await self._database.aread(read_heads)
        self._on_change(heads)
        return heads.keys()

    async def _serve(self, write: Callable[[Connection], object]) -> None:
        """Write which commits are served from now on, and tell."""

        def work(connection: Connection) -> dict[BranchPath, str]:
            write(connection)
            return read_heads(connection)

        async with self._serving:
            self._on_change(await self._database.awrite(work))

    async def add(
        self,
        url: str,
        branches: tuple[str, ...] = (),
        on_progress: Callable[[str], None] = lambda _text: None,
        *,
        discard: bool = False,
    ) -> Fetched:
        """Register a repository with what it depends on. Raises CannotFetch, ModuleConflict."""
        try:
            parsed = self._store.parse_url(url)
        except ResourceError as error:
            raise refusal(error) from error
        async with self._lock:
            known = await self._database.aread(lambda connection: find_module(connection, parsed.module))
            if known is not None and known["url"] != parsed.text:
                raise ModuleConflict(f"module {parsed.module} is registered with another URL; remove it first")
            closure = await self._store.fetch_closure(parsed, branches, on_progress, discard=discard)
            if parsed.module not in closure.modules:
                raise refusal(closure.failures[parsed.text])
            await self._record(closure, parsed.module, "module.add" if known is None else "module.fetch")
        return Fetched(parsed.module, closure)

    async def fetch(self, name: str, *, discard: bool = False) -> Fetched:
        """Bring a module to the state of its remote. The last good state is kept when that fails.

        Commits of this server that the remote does not have are kept, or dropped with `discard`.
        """
        row = await self._database.aread(lambda connection: require_module(connection, name))
        if row["url"].startswith(HOSTED):
            raise Conflict(f"module {name} is hosted by this server; there is nothing to fetch")
        known = await self._database.aread(lambda connection: branch_names(connection, row["id"]))
        wanted = tuple(known) if row["is_dependency"] else ()
        try:
            return await self.add(row["url"], wanted, discard=discard)
        except Problem as problem:
            said, code = problem.detail, problem.code

            def write(connection: Connection) -> None:
                connection.execute(modules.update().where(modules.c.id == row["id"]).values(problem=said))
                record(connection, "module.fetch", f"module/{name}", result=FAILED, code=code)

            await self._database.awrite(write)
            raise

    async def add_hosted(self, module: ModuleId, directory: Path, branch: str) -> None:
        """Make and register a module of this server from a directory."""
        commit = await asyncio.to_thread(
            self._store.create_hosted, module, directory, branch, "Add the files of the module"
        )

        def write(connection: Connection) -> None:
            module_id = upsert_module(connection, module, f"{HOSTED}{module}", is_dependency=False)
            keep_branches(connection, module_id, {branch})
            add_branches(connection, module_id, {branch: commit})
            record(connection, "module.create", f"module/{module}", branch=branch)

        await self._serve(write)

    async def commit(
        self, path: BranchPath, prepare: Callable[[str], Commit], author: Author, action: str, target: str
    ) -> str:
        """Change a served branch; gives the commit that it is at then.

        `prepare` is given the commit that the branch is at and says what to change; it is called in a thread, and
        again when somebody else was faster. `action` and `target` are for the audit trail. Raises EditsAreOff,
        BranchMoved, CannotFetch and what `prepare` raises.
        """
        if not self._edits:
            raise EditsAreOff
        async with self._committing[path.module]:
            for _ in range(ATTEMPTS):
                try:
                    head, made = await asyncio.to_thread(self._commit_once, path, prepare, author)
                except ResourceError as error:
                    if error.code != "branch_moved":
                        raise refusal(error) from error
                else:
                    break
            else:
                raise BranchMoved(f"branch '{path.branch}' of module {path.module} moves all the time; try again")
            if made is None:
                return head
            commit, message = made

            def write(connection: Connection) -> None:
                row = require_module(connection, str(path.module))
                add_branches(connection, row["id"], {path.branch: self._store.head(path.module, path.branch)})
                module = str(path.module)
                record(connection, action, target, module=module, branch=path.branch, commit=commit, message=message)

            await self._serve(write)
            return commit

    def _commit_once(
        self, path: BranchPath, prepare: Callable[[str], Commit], author: Author
    ) -> tuple[str, tuple[str, str] | None]:
        """Commit, if there is anything to commit; gives the commit before, and the one made with its first line."""
        head = self._store.head(path.module, path.branch)
        wanted = prepare(head)
        if not wanted.changes:
            return head, None
        commit = self._store.commit(path, head, wanted.changes, wanted.message, author)
        return head, (commit, wanted.message.partition("\n")[0])

    async def push(self, name: str, branch: str) -> str:
        """Bring the commits of a branch to the module's remote. Raises UnknownModule, Conflict and CannotPush."""
        row = await self._database.aread(lambda connection: require_module(connection, name))
        if row["url"].startswith(HOSTED):
            raise Conflict(f"module {row['name']} is hosted by this server; there is nowhere to push to")
        try:
            commit = await self._store.push(self._store.parse_url(row["url"]), branch)
        except ResourceError as error:
            if error.code == "unknown_branch":
                raise refusal(error) from error
            problem = CannotPush(str(error))
            problem.code = error.code
            raise problem from error

        def write(connection: Connection) -> None:
            record(connection, "module.push", f"module/{row['name']}", branch=branch, commit=commit)

        await self._database.awrite(write)
        return commit

    async def identify(self, name: str) -> ModuleId:
        """Give the name of a registered module, by its name or its id. Raises UnknownModule."""
        row = await self._database.aread(lambda connection: require_module(connection, name))
        return ModuleId.parse(row["name"])

    async def list_all(self) -> list[dict[str, Any]]:
        """Give the registered modules with their branches, their problems and what was not pushed yet."""
        rows = await self._database.aread(list_modules)
        for row in rows:
            module = ModuleId.parse(row["name"])
            row["problems"] = await asyncio.to_thread(self._problems, module, row["branches"])
            row["ahead"] = await asyncio.to_thread(self._ahead, module, row["branches"])
        return rows

    async def remove(self, name: str) -> None:
        """Forget a module and its repository. Raises UnknownModule."""

        def write(connection: Connection) -> None:
            row = require_module(connection, name)
            connection.execute(modules.delete().where(modules.c.id == row["id"]))
            record(connection, "module.remove", f"module/{name}")

        async with self._lock:
            await self._serve(write)
            await asyncio.to_thread(self._store.remove, ModuleId.parse(name))

    def _problems(self, module: ModuleId, branches: Mapping[str, str]) -> dict[str, list[FileProblem]]:
        found = {}
        for branch, commit in branches.items():
            try:
                found[branch] = list(self._store.snapshot(module, commit).problems)
            except ResourceError as error:
                found[branch] = [FileProblem("", None, None, error.code, str(error))]
        return found

    def _ahead(self, module: ModuleId, branches: Mapping[str, str]) -> dict[str, int]:
        """Count the commits of this server that the remotes of branches do not have."""
        mirror = self._store.mirror(module)
        return {branch: mirror.ahead_behind(branch)[0] for branch in branches if mirror.exists}

    async def _record(self, closure: Closure, root: ModuleId, action: str) -> None:
        def write(connection: Connection) -> None:
            for module, fetched in closure.modules.items():
                is_root = module == root
                module_id = upsert_module(
                    connection, module, fetched.url.text, is_dependency=not is_root, problem=branch_problems(fetched)
                )
                if is_root:
                    keep_branches(connection, module_id, fetched.problems.keys())
                add_branches(connection, module_id, self._heads_of(module, fetched))
            for url, error in closure.failures.items():
                connection.execute(modules.update().where(modules.c.url == url).values(problem=str(error)))
            others = sorted(str(module) for module in closure.modules if module != root)
            branches = len(closure.modules[root].branches)
            record(connection, action, f"module/{root}", branches=branches, dependencies=others)

        await self._serve(write)

    def _heads_of(self, module: ModuleId, fetched: FetchedModule) -> dict[str, str]:
        """Give where the fetched branches are now: somebody may have committed since."""
        heads = self._store.mirror(module).branches()
        return {branch: heads.get(branch, commit) for branch, commit in fetched.branches.items()}


def refusal(error: ResourceError) -> Problem:
    """Say why a repository cannot be had, under the code of the cause."""
    problem = CannotFetch(str(error))
    problem.code = error.code
    return problem


def find_module(connection: Connection, module: ModuleId) -> dict[str, Any] | None:
    """Find a registered module."""
    row = connection.execute(sa.select(modules).where(modules.c.name == str(module))).mappings().first()
    return dict(row) if row else None


def require_module(connection: Connection, name: str) -> dict[str, Any]:
    """Find a registered module by its name or its id. Raises UnknownModule."""
    is_it = sa.or_(modules.c.name == name, modules.c.id == name)
    row = connection.execute(sa.select(modules).where(is_it)).mappings().first()
    if row is None:
        raise UnknownModule(f"no module '{name[:200]}' is registered")
    return dict(row)


def branch_names(connection: Connection, module_id: str) -> list[str]:
    """Give the registered branches of a module."""
    query = sa.select(module_branches.c.branch).where(module_branches.c.module_id == module_id)
    return list(connection.execute(query).scalars())


def branch_problems(fetched: FetchedModule) -> str | None:
    """Say which branches of a module are not at the remote's newest commit, and why; None when there is none."""
    unread = [
        f"branch {name}: {found[0].message}" for name, found in fetched.problems.items() if name not in fetched.branches
    ]
    said = []
    if unread:
        shown = "; ".join(_some(unread))
        said.append(f"cannot be read at the newest commit, the last good one is kept: {shown}")
    if fetched.diverged:
        shown = ", ".join(_some(list(fetched.diverged)))
        said.append(f"has commits of this server that the remote has not, and the remote has others: branch {shown}; "
                    "bring them together with Git, or fetch with discard")  # fmt: skip
    return "; ".join(said) or None


def _some(items: list[str]) -> list[str]:
    more = [f"{len(items) - SHOWN_BRANCHES} more branches"] if len(items) > SHOWN_BRANCHES else []
    return [*items[:SHOWN_BRANCHES], *more]


def upsert_module(
    connection: Connection, module: ModuleId, url: str, *, is_dependency: bool, problem: str | None = None
) -> str:
    """Record a module; one that was asked for by hand stays so."""
    known = find_module(connection, module)
    now = utc_now()
    if known is None:
        module_id = new_id()
        connection.execute(
            modules.insert().values(
                id=module_id,
                name=str(module),
                url=url,
                is_dependency=is_dependency,
                problem=problem,
                created_at=now,
                fetched_at=now,
            )
        )
        return module_id
    connection.execute(
        modules.update()
        .where(modules.c.id == known["id"])
        .values(url=url, is_dependency=bool(known["is_dependency"]) and is_dependency, fetched_at=now, problem=problem)
    )
    return str(known["id"])


def keep_branches(connection: Connection, module_id: str, names: Collection[str]) -> None:
    """Forget the branches of a module that are not among these."""
    for name in set(branch_names(connection, module_id)).difference(names):
        is_it = sa.and_(module_branches.c.module_id == module_id, module_branches.c.branch == name)
        connection.execute(module_branches.delete().where(is_it))


def add_branches(connection: Connection, module_id: str, branches: Mapping[str, str]) -> None:
    """Record branches at these commits, beside those that are known."""
    for branch, head in branches.items():
        connection.execute(
            module_branches.delete().where(module_branches.c.module_id == module_id, module_branches.c.branch == branch)
        )
        connection.execute(module_branches.insert().values(module_id=module_id, branch=branch, head=head))


def list_modules(connection: Connection) -> list[dict[str, Any]]:
    """Give all modules by name with their branches."""
    found = [dict(row) for row in connection.execute(sa.select(modules).order_by(modules.c.name)).mappings()]
    branches: dict[str, dict[str, str]] = {}
    for row in connection.execute(sa.select(module_branches).order_by(module_branches.c.branch)):
        branches.setdefault(row.module_id, {})[row.branch] = row.head
    for module in found:
        module["branches"] = branches.get(module["id"], {})
    return found
