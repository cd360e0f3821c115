"""The backends that the settings name: what executes actions, and what executes those that name an image."""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from infraxys.engine.backends.base import Backend, BackendUnavailable, Image
from infraxys.engine.backends.bubblewrap import BubblewrapBackend
from infraxys.engine.backends.container import ContainerBackend
from infraxys.engine.backends.dummy import DummyBackend
from infraxys.engine.images import ImageRules, Images, complete
from infraxys.server.data_folder import DataFolder
from infraxys.server.settings import Settings

if TYPE_CHECKING:  # imported where there is a cluster
    from infraxys.engine.backends.kubernetes import KubernetesBackend

logger = logging.getLogger(__name__)


def make_backend(settings: Settings, folder: DataFolder) -> Backend:
    """Make the backend that the settings name, ready for use. Blocks. Raises BackendUnavailable."""
    if settings.backend == "dummy":
        folder.work.mkdir(parents=True, exist_ok=True)
        return DummyBackend()
    if settings.backend == "bubblewrap":
        extra = tuple(Path(part) for part in settings.extra_read_only.split(":") if part)
        backend = BubblewrapBackend(folder.work, slots=settings.slots, accounts=folder.accounts, extra_read_only=extra)
        backend.prepare()
        return backend
    if settings.backend == "container":
        if not settings.default_image:
            raise BackendUnavailable("the backend 'container' needs an image with bash: set default_image")
        return make_containers(settings, folder)
    return make_kubernetes(settings, folder)


def make_containers(settings: Settings, folder: DataFolder) -> ContainerBackend:
    """Make the backend for containers; whether an engine is there shows when it is used."""
    return ContainerBackend(
        folder.work,
        socket=settings.container_socket,
        accounts=folder.accounts,
        image=default_image(settings),
        network=settings.container_network,
    )


def make_kubernetes(settings: Settings, folder: DataFolder) -> "KubernetesBackend":
    """Make the backend for Jobs. Blocks. Raises BackendUnavailable."""
    image = default_image(settings)
    if image is None:
        raise BackendUnavailable("the backend 'kubernetes' needs an image with bash: set default_image")
    from infraxys.engine.backends.kubernetes import KubernetesBackend  # noqa: PLC0415 - most servers have no cluster
    from infraxys.engine.backends.kubernetes_access import find_access  # noqa: PLC0415

    access = find_access(settings.kubeconfig, settings.kubernetes_namespace)
    return KubernetesBackend(folder.work, access, image=image, helper_image=settings.kubernetes_helper_image)


def default_image(settings: Settings) -> Image | None:
    """Give the image of actions that name none. Raises BackendUnavailable."""
    if not settings.default_image:
        return None
    try:
        return Image(complete(settings.default_image), settings.pull_policy)
    except ValueError as error:
        raise BackendUnavailable(f"the setting default_image is not possible: {error}") from error


def make_images(settings: Settings, folder: DataFolder, backend: Backend) -> Images:
    """Say how actions with an image of their own are executed: by `backend` if it knows images, else in containers."""
    rules = image_rules(settings)
    if settings.backend in {"container", "kubernetes"}:
        return Images(backend, rules)
    containers = make_containers(settings, folder)
    return Images(containers, rules, missing=containers.missing)


def image_rules(settings: Settings) -> ImageRules:
    """Give the settings that say which images modules may choose."""
    is_allowed = settings.allow_custom_images
    return ImageRules(
        is_allowed=settings.mode == "developer" if is_allowed is None else is_allowed,
        patterns=tuple(part.strip() for part in settings.allowed_images.split(",") if part.strip()),
        pull_policy=settings.pull_policy,
    )


def describe_rules(settings: Settings) -> str:
    """Say which images modules may choose, for people."""
    rules = image_rules(settings)
    if not rules.is_allowed:
        return "refused (allow_custom_images)"
    return f"allowed if they are {' or '.join(rules.patterns)}" if rules.patterns else "allowed"


async def clear_containers(images: Images, settings: Settings) -> None:
    """Remove the containers of a killed server, where there is an engine; says so in the log when one was named."""
    backend = images.backend
    if isinstance(backend, ContainerBackend):
        try:
            await backend.connect()
        except BackendUnavailable as error:
            if settings.container_socket is not None:
                logger.warning("container_engine_unavailable reason=%s", error)


def start_clearing(images: Images, settings: Settings) -> "asyncio.Task[None]":
    """Do it meanwhile."""
    return asyncio.get_running_loop().create_task(clear_containers(images, settings))
