"""What a step gets when it starts: looked up at that moment, kept nowhere."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy.engine import Connection

from infraxys.engine.run_tree import RunVariable
from infraxys.server.auth.access import AccessControl
from infraxys.server.auth.places import Place
from infraxys.server.db.engine import Database
from infraxys.server.variables import repository
from infraxys.server.variables.errors import CannotResolve
from infraxys.server.variables.keys import KeyProblem, KeyRing
from infraxys.server.variables.levels import Book
from infraxys.server.variables.repository import bound_of, entry_of
from infraxys.server.variables.schemas import Reference
from infraxys.server.variables.vault import UNAVAILABLE, Vault

MAX_TOTAL = 1024**2  # bytes of all values of a step
READERS = 4
PATIENCE_SECONDS = 30.0  # for everything that a step needs from another store
Row = dict[str, Any]


class VariableResolver:
    """Gives steps their variables. Which there are is kept in memory as long as nobody changes any; values are not."""

    def __init__(
        self, database: Database, access: AccessControl, keys: KeyRing, make_vault: Callable[[], Vault] | None
    ) -> None:
        self._database, self._access, self._keys, self._make_vault = database, access, keys, make_vault
        self._book = Book()
        self._vault: Vault | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="vault")

    async def find(self, place: Place, container_id: str) -> list[Row]:
        """Find the variables of a step in a container, for `open`."""
        if self._is_without(await self._database.alookup(repository.versions), place, container_id):
            return []
        return await self._database.aread(lambda connection: self._rows(connection, place, container_id))

    def has_none(self, place: Place, container_id: str) -> bool:
        """Whether a step in a container gets none, as far as is known without reading them. Blocks; in threads."""
        return self._is_without(self._database.read_now(repository.versions), place, container_id)

    def _is_without(self, versions: tuple[int, int], place: Place, container_id: str) -> bool:
        access_version, version = versions
        book, policy = self._book, self._access.policy
        if book.version != version:
            return False
        return book.is_empty or (policy.version == access_version and not book.resolve(policy, place, container_id))

    async def open(self, rows: list[Row]) -> tuple[RunVariable, ...]:
        """Give the variables with their values. Raises CannotResolve."""
        values = await self._values(rows)
        found = tuple(run_variable(row, values[row["id"]]) for row in rows)
        check_files(found)
        return found

    async def secrets_of(self, place: Place, container_id: str) -> list[str]:
        """Give the secrets of a step as far as they are kept here. Raises CannotResolve."""
        rows = await self._database.aread(lambda connection: self._rows(connection, place, container_id))
        return [self._open(row) for row in rows if row["is_protected"] and row["reference"] is None]

    def close(self) -> None:
        """Stop reading from other stores."""
        self._readers.shutdown(wait=False, cancel_futures=True)

    def _rows(self, connection: Connection, place: Place, container_id: str) -> list[Row]:
        policy = self._access.read_policy(connection)
        _, version = repository.versions(connection)
        if self._book.version != version:
            self._book = repository.load_book(connection)
        entries = self._book.resolve(policy, place, container_id)
        if not entries:
            return []
        return [dict(row) for row in repository.with_values(connection, [entry.id for entry in entries])]

    async def _values(self, rows: list[Row]) -> dict[str, str]:
        values = {row["id"]: self._open(row) for row in rows if row["reference"] is None}
        references = {row["id"]: Reference.model_validate_json(row["reference"]) for row in rows if row["reference"]}
        if references:
            read = await self._read(list(references.values()))
            values |= {key: read[reference.path, reference.field] for key, reference in references.items()}
        if sum(len(value.encode(errors="replace")) for value in values.values()) > MAX_TOTAL:
            raise CannotResolve("variables_too_large", f"its variables have more than {MAX_TOTAL} bytes together")
        return values

    def _open(self, row: Row) -> str:
        try:
            return self._keys.unseal(row["sealed"], bound_of(row)).decode()
        except KeyProblem as error:
            raise CannotResolve("secrets_unusable", f"the variable '{row['name']}' cannot be read: {error}") from None

    async def _read(self, references: list[Reference]) -> dict[tuple[str, str], str]:
        if self._make_vault is None:
            raise CannotResolve(UNAVAILABLE, "a variable is in the store 'vault', which this server does not have")
        reading = asyncio.get_running_loop().run_in_executor(self._readers, self._read_now, references)
        try:
            return await asyncio.wait_for(reading, PATIENCE_SECONDS)
        except TimeoutError:
            raise CannotResolve(UNAVAILABLE, f"the store 'vault' did not answer in {PATIENCE_SECONDS:g} s") from None

    def _read_now(self, references: list[Reference]) -> dict[tuple[str, str], str]:
        if self._vault is None:
            assert self._make_vault is not None  # noqa: S101 - asked before
            self._vault = self._make_vault()
        return self._vault.read(references)


def run_variable(row: Row, value: str) -> RunVariable:
    """Give a variable as a step gets it."""
    entry = entry_of(row)
    file = (f"{entry.type}/{entry.name}" if entry.type else entry.name) if entry.is_file else None
    return RunVariable(
        entry.name, value, is_exported=entry.is_exported, file=file, is_secret=entry.is_protected, type=entry.type
    )


def check_files(variables: tuple[RunVariable, ...]) -> None:
    """Refuse a variable whose name is the type of others: a file cannot be a folder as well. Raises CannotResolve."""
    folders = {variable.file.partition("/")[0] for variable in variables if variable.file and "/" in variable.file}
    for variable in variables:
        if variable.file in folders:
            raise CannotResolve(
                "variable_not_possible",
                f"the variable '{variable.name}' cannot be saved to a file: other variables have that name as type",
            )
