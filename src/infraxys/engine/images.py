"""Steps that name a container image: may they, what is executed in it, and who may fetch it."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from infraxys.engine.backends.base import ActionSpec, Backend, Credentials, Image, PullPolicy, StartFailed
from infraxys.engine.plan import PlannedStep
from infraxys.engine.run_tree import MAX_EXPORTED, ROOT, RunContext, run_variables
from infraxys.spec.names import is_exportable

CONFIG_TYPE = "DOCKER-CONFIG"  # the type of variables that hold the credentials of registries
DEFAULT_REGISTRY = "docker.io"
HUB_NAMES = ("https://index.docker.io/v1/", "index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
LAUNCHER = ("/bin/sh", f"{ROOT}/core/image.sh")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?P<registry>(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::\d{1,5})?/)?"
    rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?P<tag>:\w[\w.-]{0,127})?(?P<digest>@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_MAX_REFERENCE = 500

Secrets = Iterable[tuple[str, str]]  # names and values


def complete(reference: str) -> str:
    """Give a reference with its registry and its tag or digest, as Docker completes it. Raises ValueError."""
    found = _REFERENCE.fullmatch(reference) if len(reference) <= _MAX_REFERENCE else None
    if found is None:
        raise ValueError("it is not written like 'registry.example/team/tool:1.2'")
    registry, path = found["registry"] or "", found["path"]
    if registry and not ("." in registry or ":" in registry or registry == "localhost/"):
        registry, path = "", registry + path  # the first part is a name at the default registry
    if not registry:
        registry = f"{DEFAULT_REGISTRY}/"
        path = path if "/" in path else f"library/{path}"
    version = (found["tag"] or "") + (found["digest"] or "")
    return f"{registry}{path}{version or ':latest'}"


@dataclass(frozen=True, slots=True)
class ImageRules:
    """What the installation allows. `patterns` are of complete references, with `*`; empty allows every image."""

    is_allowed: bool = True
    patterns: tuple[str, ...] = ()
    pull_policy: PullPolicy = "missing"

    def image(self, step: PlannedStep) -> Image:
        """Give the image of a step. Raises StartFailed when it may not be used."""
        if not self.is_allowed:
            message = (
                f"it is to run in image '{step.image}', and this server does not allow images that modules choose; an "
                "administrator can, with the setting allow_custom_images"
            )
            raise StartFailed(message)
        try:
            reference = complete(step.image)
        except ValueError as error:
            raise StartFailed(f"the name of image '{step.image[:200]}' is not possible: {error}") from error
        if self.patterns and not any(fnmatchcase(reference, pattern) for pattern in self.patterns):
            message = f"image '{reference}' is none of those that this server allows (setting allowed_images)"
            raise StartFailed(message)
        return Image(reference, step.pull_policy or self.pull_policy)


class Images:
    """How steps with an image of their own are executed: by `backend`, as the rules say.

    Credentials of registries are variables of the run, in Docker's format. `missing` says what is missing so that no
    step could be executed at all; empty when nothing is.
    """

    def __init__(
        self,
        backend: Backend | None = None,
        rules: ImageRules | None = None,
        missing: Callable[[], str] = str,
    ) -> None:
        self._backend, self._rules, self.missing = backend, rules or ImageRules(), missing

    @property
    def backend(self) -> Backend:
        """What executes such steps. Raises StartFailed without any."""
        if self._backend is None:
            message = (
                "it names a container image, and this server has no container engine: install podman or Docker, and "
                "name its socket in the setting container_socket"
            )
            raise StartFailed(message)
        return self._backend

    async def close(self) -> None:
        """Close what executes them."""
        if self._backend is not None:
            await self._backend.close()

    def adapt(self, action: ActionSpec, step: PlannedStep, run: RunContext) -> ActionSpec:
        """Give the action as it is executed in the step's image. Raises StartFailed."""
        image = self._rules.image(step)
        self.backend  # noqa: B018 - raises without one
        try:
            configs = [(one.name, one.value) for one in run.variables if one.type == CONFIG_TYPE]
            credentials = find_credentials(image.reference, configs)
        except ValueError as error:
            raise StartFailed(str(error)) from error
        command, environment = command_of(step, run)
        image = replace(image, credentials=credentials)
        return replace(action, image=image, command=command, environment=environment)


def command_of(step: PlannedStep, run: RunContext) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Give what is executed in an image, and its environment. Raises StartFailed.

    A custom command is a line for the image's shell or, written as a JSON list, a program with its arguments. The
    shell reads its variables from the run's files. A list that begins with an empty text has the arguments of what the
    image itself starts. Without a shell the variables are in the container's settings, where whoever may use the
    container engine sees them: the protected ones are left out there.
    """
    written = step.custom_command.strip()
    if not written:
        return (*LAUNCHER, "file", step.filename), {}
    if not written.startswith("["):
        return (*LAUNCHER, "line", written), {}
    try:
        words = json.loads(written)
    except (ValueError, RecursionError):
        words = None
    if (
        not isinstance(words, list)
        or not words
        or not all(isinstance(word, str) and "\0" not in word for word in words)
    ):
        raise StartFailed('its custom command begins with "[" and is not a JSON list of texts')
    exported = {
        one.name: one.value
        for one in run.variables
        if one.is_exported and not one.is_secret and is_exportable(one.name)
    }
    variables = {**exported, **step.attributes, **step.variables, **run_variables(step, run)}
    plain = {name: value.replace("\0", "") for name, value in variables.items() if len(value) < MAX_EXPORTED}
    return tuple(words), plain


def find_credentials(reference: str, configs: Secrets) -> Credentials | None:
    """Find what the registry of a complete reference is told, in files like Docker's `config.json`.

    The entry whose name is the longest beginning of the reference wins. Raises ValueError, naming the variable.
    """
    found = _REFERENCE.fullmatch(reference)
    repository = f"{found['registry'] or ''}{found['path']}" if found else reference
    best: tuple[int, Credentials] | None = None
    for name, text in configs:
        for written, entry in _entries(name, text):
            place = _place(written)
            is_for_it = repository == place or repository.startswith(f"{place}/")
            if is_for_it and (best is None or len(place) > best[0]):
                best = (len(place), _credentials(name, place, entry))
    return best[1] if best else None


def _entries(name: str, text: str) -> list[tuple[str, Mapping[str, object]]]:
    try:
        config = json.loads(text)
        entries = config["auths"]
        return [(str(key), value) for key, value in entries.items() if isinstance(value, dict)]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        message = f'variable \'{name}\' of type {CONFIG_TYPE} is not like {{"auths": {{"registry": {{"auth": "…"}}}}}}'
        raise ValueError(message) from None


def _place(written: str) -> str:
    if written in HUB_NAMES:
        return DEFAULT_REGISTRY
    place = re.sub(r"^https?://", "", written).rstrip("/")
    return re.sub(r"/v[12]$", "", place)


def _credentials(name: str, place: str, entry: Mapping[str, object]) -> Credentials:
    registry = place.partition("/")[0]
    if token := entry.get("identitytoken"):
        return Credentials(registry, identity_token=str(token))
    if "auth" not in entry:
        return Credentials(registry, str(entry.get("username", "")), str(entry.get("password", "")))
    try:
        username, _, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        message = f"variable '{name}' of type {CONFIG_TYPE}: 'auth' of '{place}' is not base64 of name:password"
        raise ValueError(message) from None
    return Credentials(registry, username, password)
