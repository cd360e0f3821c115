"""What a token check costs with a million tokens in the database: `.venv/bin/python bench/token_bench.py [tokens]`."""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from starlette.requests import Request

from infraxys.kit.clock import utc_now
from infraxys.server.auth import tokens, users
from infraxys.server.auth.authenticate import Authenticator
from infraxys.server.auth.tokens import TokenKey
from infraxys.server.db.engine import Database
from infraxys.server.db.migrate import migrate
from infraxys.server.db.tables import tokens as table

BATCH = 50_000
CHECKS = 5_000
LIMIT_MILLISECONDS = 0.3


def fill(database: Database, key: TokenKey, count: int) -> list[str]:
    """Record so many tokens of a thousand users; gives a few hundred of them, spread over all."""
    owners = [database.write_now(lambda c, n=n: users.create_user(c, f"user-{n}")) for n in range(1000)]
    now = utc_now()
    texts = []
    for start in range(0, count, BATCH):
        rows = []
        for number in range(start, min(start + BATCH, count)):
            token_id, secret, text = tokens.new_secret()
            rows.append(
                {"id": token_id, "user_id": owners[number % 1000], "name": "bench", "digest": key.digest(secret),
                 "created_at": now, "last_used_at": now}
            )  # fmt: skip
            if number % (count // 500 or 1) == 0:
                texts.append(text)
        database.write_now(lambda c, rows=rows: c.execute(table.insert(), rows))
    return texts


def request(text: str) -> Request:
    headers = [(b"authorization", f"token {text}".encode())]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers, "client": ("192.0.2.1", 1)})


async def measure(authenticator: Authenticator, texts: list[str]) -> list[float]:
    """Give the milliseconds of each check, one after the other, over all of the tokens."""
    times = []
    for number in range(CHECKS):
        asked = request(texts[number * 7 % len(texts)])
        begin = time.perf_counter()
        await authenticator.authenticate(asked)
        times.append((time.perf_counter() - begin) * 1000)
    return times


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="infraxys-bench-", dir="/var/tmp") as folder:
        database = Database(f"sqlite:///{folder}/bench.db")
        migrate(database)
        key = TokenKey(Path(folder) / "key")
        texts = fill(database, key, count)
        authenticator = Authenticator(database, key, is_developer=False)
        times = sorted(asyncio.run(measure(authenticator, texts)))
        database.close()
    median = statistics.median(times)
    print(f"{count} tokens: median {median:.3f} ms, 95 % {times[int(len(times) * 0.95)]:.3f} ms")
    if median > LIMIT_MILLISECONDS:
        raise SystemExit(f"more than {LIMIT_MILLISECONDS} ms")


if __name__ == "__main__":
    main()
