"""Time tells nothing about credentials, nor about what is hidden (hostile.md A1, field.md G5, G10)."""

import random
import statistics
import time

import pytest

from factories.modules import ENVIRONMENT, INSTANCE
from infraxys.kit.clock import new_id
from infraxys.server.auth import tokens
from plugins.access import AccessServer
from plugins.server import ServerProcess

BLOCKS = 300  # in each, every kind of credentials is sent once, in random order
ROUNDS = 5  # noise of the machine passes in one of them; what the server does is in each
# Of the time of one request. To find a row and compare its digest is less than a hundredth of it; a second look into
# the database is about a fifteenth, a note of the attempt or a slow hash far more.
NOTICEABLE = 0.03
# To read what is hidden is about a twentieth. Ids have 74 random bits: nobody has one to ask for who was not told it.
NOTICEABLE_IF_HIDDEN = 0.06


def whole(body: str) -> str:
    """Give a token with its right check."""
    return f"{body}_{tokens.checksum(body)}"


def measure(
    server: ServerProcess, kinds: dict[str, str], order: random.Random, path: str, status: int
) -> dict[str, list[float]]:
    """Give the seconds of one refusal of each kind for each block."""
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(BLOCKS):
        for name in order.sample(sorted(kinds), len(kinds)):
            began = time.perf_counter()
            token, _, target = kinds[name].partition(" ")
            answer = server.client.get(path + target, headers={"Authorization": f"token {token}"})
            taken[name].append(time.perf_counter() - began)
            assert answer.status_code == status
    return taken


def difference(taken: dict[str, list[float]]) -> float:
    """Give how much longer the slower kind takes, in parts of the time of a request."""
    # Within a block the machine is as busy for one as for the other; the median forgives the blocks where it was not.
    pairs = [first - second for first, second in zip(*taken.values(), strict=True)]
    return abs(statistics.median(pairs)) / statistics.median(next(iter(taken.values())))


def check(
    server: ServerProcess,
    kinds: dict[str, str],
    path: str = "/api/v1/me",
    status: int = 401,
    noticeable: float = NOTICEABLE,
) -> None:
    """Insist that no kind can be told by time. A kind is a token, or a token and what is put behind the path."""
    order, found = random.Random(1), [1.0]
    while found[-1] > noticeable:
        assert len(found) <= ROUNDS, f"they can be told apart by time: {found[1:]}"
        found.append(difference(measure(server, kinds, order, path, status)))


def test_a1_g10_an_unknown_token_and_a_wrong_secret_are_refused_in_the_same_time(team_server: ServerProcess) -> None:
    prefix, token_id, secret, _ = team_server.admin_token.split("_")  # type: ignore[attr-defined]
    last = "a" if secret[-1] != "a" else "b"
    wrong, unknown = f"{prefix}_{token_id}_{secret[:-1]}{last}", f"{prefix}_{'0' * len(token_id)}_{secret}"
    check(team_server, {"wrong": whole(wrong), "unknown": whole(unknown)})


def test_a1_how_much_of_a_secret_is_right_does_not_change_the_time(team_server: ServerProcess) -> None:
    prefix, token_id, secret, _ = team_server.admin_token.split("_")  # type: ignore[attr-defined]
    first, last = ("a" if secret[0] != "a" else "b"), ("a" if secret[-1] != "a" else "b")
    wrong, nearly = f"{prefix}_{token_id}_{first}{secret[1:]}", f"{prefix}_{token_id}_{secret[:-1]}{last}"
    check(team_server, {"wrong": whole(wrong), "nearly": whole(nearly)})


@pytest.mark.parametrize("noun", ["runs", "teams"])
def test_g5_what_is_hidden_takes_as_long_as_what_does_not_exist(access_server: AccessServer, noun: str) -> None:
    make = access_server.make
    project = make.project()
    make.attach(project, ENVIRONMENT)
    execute = f"/instance/main/{INSTANCE}/files/true.sh/execute"
    run_id = access_server.ask("POST", execute, access_server.everything, {}).json()["id"]
    hidden = {"runs": run_id, "teams": make.team(project)}[noun]
    token = access_server.administrator_of(make.project())
    kinds = {"hidden": f"{token} {hidden}", "unknown": f"{token} {new_id()}"}
    check(access_server, kinds, f"/api/v1/{noun}/", 404, NOTICEABLE_IF_HIDDEN)
