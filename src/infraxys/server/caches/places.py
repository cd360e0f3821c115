"""Which caches the actions of a step see, and where."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from infraxys.engine.attachments import Attached
from infraxys.engine.backends.base import Mount
from infraxys.engine.plan import Plan, PlannedStep
from infraxys.engine.run_tree import RunContext
from infraxys.kit.trees import Size
from infraxys.server.auth.rights import ROOT, Policy
from infraxys.server.caches.store import Cache, CacheName, CacheStore
from infraxys.server.paths import API

FOLDER = "/cache"


@dataclass(frozen=True, slots=True)
class StepCaches:
    """The caches that a step may write to. `account` is the same for all steps that share one of them."""

    names: tuple[CacheName, ...]
    account: str


@lru_cache(4096)
def caches_of(
    module: str, branch: str, environment_id: str, container_id: str, instance_id: str, project_id: str | None
) -> StepCaches:
    """Say which caches an instance's actions may write to.

    A branch has caches of its own: what runs on one must not change what runs on another. An environment that nobody
    attached to a project has a project cache of its own, so that it is not everybody's.
    """
    environment = CacheName("environment", "", module, branch, environment_id)
    project = (
        CacheName("project", project_id) if project_id else CacheName("project", "", module, branch, environment_id)
    )
    return StepCaches(
        (
            CacheName("instance", "", module, branch, environment_id, container_id, instance_id),
            CacheName("container", "", module, branch, environment_id, container_id),
            environment,
            project,
        ),
        project.id,
    )


class CacheFolders:
    """Gives steps their caches. `policy` tells which environment is in which project."""

    def __init__(self, store: CacheStore, policy: Callable[[], Policy]) -> None:
        self._store, self._policy = store, policy

    def attach(self, plan: Plan, step: PlannedStep, run: RunContext) -> Attached:
        """Give a step its caches, and those that projects above show to it."""
        del run
        policy = self._policy()
        module, branch = str(plan.branch_path.module), plan.branch_path.branch
        project_id = policy.attached_to(module, branch, plan.environment_id)
        own = caches_of(module, branch, plan.environment_id, step.container_id, step.instance_id, project_id)
        held: list[Cache] = []
        mounts, notes = [], []
        try:
            for name in own.names:
                cache = self._store.hold(name)
                held.append(cache)
                is_over = self._store.is_over(cache)
                mounts.append(Mount(cache.folder, f"{FOLDER}/{name.level}", not is_over))
                if is_over:
                    notes.append(over_quota(cache, self._store.quota))
            for shared_id, alias in shared_with(policy, project_id):
                cache = self._store.hold(CacheName("project", shared_id))
                held.append(cache)
                mounts.append(Mount(cache.folder, f"{FOLDER}/projects/{alias}"))
        except BaseException:
            self._store.release(held)
            raise
        return Attached(tuple(mounts), own.account, note="; ".join(notes), release=lambda: self._store.release(held))


def shared_with(policy: Policy, project_id: str | None) -> list[tuple[str, str]]:
    """Give id and alias of the projects above that show their cache."""
    shared = policy.shared_caches
    if not shared:
        return []
    return [(one, shared[one]) for one in policy.path(project_id or ROOT) if one in shared and one != project_id]


def over_quota(cache: Cache, quota: int) -> str:
    """Say that a cache is too large, and what to do."""
    return (
        f"the {cache.name.level} cache is over its quota ({described(cache.size)}, {quota} bytes are allowed), so it "
        f"could only be read; clean it with DELETE {API}/caches/{cache.name.level}/{cache.id}"
    )


def described(size: Size) -> str:
    """Say how much there is."""
    if size.is_whole:
        return f"{size.bytes} bytes"
    return f"at least {size.bytes} bytes, in more or deeper folders than are counted"
