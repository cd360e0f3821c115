"""The library's REST client against a small HTTP server: what it sends, and what it makes of answers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from factories import core_python
from factories.core_python import module


class Recorder(ThreadingHTTPServer):
    """Keeps each request as (method, path, headers, body) and answers with what is planned for its path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.planned: dict[str, tuple[int, Any]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def last(self) -> tuple[str, str, Any]:
        method, path, _, body = self.requests[-1]
        return method, path, body


class Handler(BaseHTTPRequestHandler):
    server: Recorder

    def answer(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(text) if text else None
        self.server.requests.append((self.command, self.path, dict(self.headers), body))
        status, answer = self.server.planned.get(self.path, (200, {}))
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"{self.server.url}/elsewhere")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer  # noqa: N815 - the names that the base class looks for

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - as in the base class
        pass


@pytest.fixture
def http(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    core_python.forget()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with Recorder() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    core_python.forget()


@pytest.fixture
def client(http: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The client that a variable names."""
    monkeypatch.setattr(module("places"), "ROOT", str(tmp_path))
    folder = tmp_path / "variables" / "INFRAXYS-CONFIG"
    folder.mkdir(parents=True)
    (folder / "INFRAXYS-REST-CLIENT").write_text(json.dumps({"endpoint": http.url, "token": "ifx_t"}))
    return module("infraxys_rest_client").InfraxysRestClient.get_instance()


def test_requests_carry_the_token_and_json(http: Recorder, client: Any) -> None:
    http.planned["/api/v1/me"] = (200, {"name": "é"})
    answer = client.execute_get("me")
    assert (answer.status_code, answer.ok, answer.json(), json.loads(answer.text)) == (200, True, *2 * ({"name": "é"},))
    assert json.loads(answer.content) == {"name": "é"}
    _, _, headers, body = http.requests[0]
    assert (headers["Authorization"], headers["Content-Type"], body) == ("token ifx_t", "application/json", None)
    client.execute_post("/x y/é?a=1&b=%20", {"deep": [None, "\u2028"]})
    assert http.last == ("POST", "/api/v1/x%20y/%C3%A9?a=1&b=%20", {"deep": [None, "\u2028"]})


def test_the_endpoint_may_have_the_prefix(http: Recorder, client: Any) -> None:
    type(client)(f"{http.url}/api/v1/", "t").execute_get("me")
    assert http.last[1] == "/api/v1/me"


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "BadRequest"), (401, "Unauthorized"), (403, "Unauthorized"), (404, "NotFound")]
)
def test_refusals_are_exceptions_with_the_reason(http: Recorder, client: Any, status: int, kind: str) -> None:
    http.planned["/api/v1/x"] = (status, {"title": "No", "detail": "there is no x", "code": "not_found"})
    with pytest.raises(getattr(module("exceptions"), f"{kind}Exception")) as refused:
        client.execute_get("x")
    assert str(refused.value) == f"{kind}Exception: {status}: there is no x (not_found)"


def test_other_answers_are_given_and_told(http: Recorder, client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    http.planned["/api/v1/x"] = (500, b"\xff<html>")
    answer = client.execute_get("x")
    assert (answer.status_code, answer.content, answer.ok) == (500, b"\xff<html>", False)
    assert "GET" in (said := capsys.readouterr().out)
    assert "500: the server gives no reason" in said
    assert "ifx_t" not in said


def test_no_token_follows_a_redirection(http: Recorder, client: Any) -> None:
    http.planned["/api/v1/x"] = (302, {})
    assert client.execute_get("x").status_code == 302
    assert [path for _, path, _, _ in http.requests] == ["/api/v1/x"]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "/me", "data:,x"])
def test_only_http_is_spoken(client: Any, url: str) -> None:
    with pytest.raises(ValueError, match="no URL of http or https"):
        client.execute_request("GET", url)


def test_the_client_of_the_run_reads_its_token(
    http: Recorder, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del client
    (tmp_path / "system").mkdir()
    (tmp_path / "system" / "token").write_text("ifx_run\n")
    monkeypatch.setenv("INFRAXYS_REST_ENDPOINT", f"{http.url}/api/v1")
    module("rest_client").RestClient().execute_get("me")
    assert http.requests[0][1] == "/api/v1/me"
    assert http.requests[0][2]["Authorization"] == "token ifx_run"


PARENT = {"moduleBranchPath": "h\\o\\r\\main", "environmentId": "e", "containerId": "c", "instanceId": "i"}
FOUND = {
    "id": "child", "moduleBranchPath": "h\\o\\r\\main", "environmentId": "e", "containerId": "c",
    "attributes": [{"name": "colour", "value": "red"}, {"name": "unknown", "value": "x"}],
}  # fmt: skip


@pytest.fixture
def kinds(client: Any, tmp_path: Path) -> tuple[Any, Any]:
    """A class of instances with two attributes, one of a packet that its own extends; and a parent."""
    del client
    for name, packet in {
        "Web": {"id": "p", "attributes": [{"id": "a", "name": "colour"}],
                "extends": [{"name": "Base", "id": "b", "moduleBranchPath": "h\\o\\r\\main"}]},
        "Base": {"id": "b", "attributes": [{"id": "s", "name": "size"}]},
    }.items():  # fmt: skip
        folder = tmp_path / "modules" / "h" / "o" / "r" / "main" / "packets" / name
        folder.mkdir(parents=True)
        (folder / "packet.json").write_text(json.dumps(packet))
    service = module("services.packet_service").PacketService.get_instance()
    packet = service.get_packet(packet_directory=str(tmp_path / "modules/h/o/r/main/packets/Web"))
    base = module("model.base_object").BaseObject
    web = type("Web", (base,), {"colour": "", "size": "5", "get_packet": lambda _: packet})
    reference = module("json.instance_reference").InstanceReference("h\\o\\r\\main", "c", "i", "e")
    return web, base(instance_reference=reference)


def test_instances_are_read(http: Recorder, kinds: tuple[Any, Any]) -> None:
    web, parent = kinds
    service = module("services.infraxys_service").InfraxysService.get_instance()
    http.planned["/api/v1/instances"] = (200, {"instance": FOUND})
    one = service.get_by_reference(parent.instance_reference, target_class=web)
    assert http.last == ("GET", "/api/v1/instances", PARENT)
    assert (one.colour, one.size, one.instance_reference.instance_id, hasattr(one, "unknown")) == (
        "red",
        "5",
        "child",
        False,
    )
    known = web()
    assert service.get_by_reference(parent.instance_reference, target_instance=known) is known
    http.planned["/api/v1/instances/byAttributeNameAndValue"] = (200, {})
    assert service.get_child_by_attribute(parent, "colour", "red", web) is None
    assert http.last[2] == {**PARENT, "attributeName": "colour", "attributeValue": "red"}
    http.planned["/api/v1/instances/byPacketType"] = (200, {"instances": [FOUND, FOUND]})
    assert len(service.get_instances_by_packet_type(parent, "WEB", web, recursive=True)) == 2
    assert http.last[2] == {**PARENT, "packetType": "WEB", "recursive": True}
    with pytest.raises(ValueError, match="target_class or a target_instance"):
        service.get_by_reference(parent.instance_reference)


def test_instances_are_saved(http: Recorder, kinds: tuple[Any, Any]) -> None:
    web, parent = kinds
    service = module("services.infraxys_service").InfraxysService.get_instance()
    place = {"moduleBranchPath": "h\\o\\r\\main", "environmentId": "e", "containerId": "c"}
    attributes = [{"id": "a", "name": "colour", "value": "blue"}, {"id": "s", "name": "size", "value": "5"}]
    packet = {"packetId": "p", "packetPath": "h\\o\\r\\main"}
    new = web(parent_instance=parent)
    new.colour = "blue"
    assert service.save(new).status_code == 200
    assert http.last == (
        "POST", "/api/v1/instances", {"instance": {**packet, "parentId": "i", **place, "attributes": attributes}},
    )  # fmt: skip
    known = web(instance_reference=parent.instance_reference)
    known.colour = "blue"
    service.save(known)
    assert http.last[2] == {"instance": {**packet, "id": "i", **place, "attributes": attributes}}
    http.planned["/api/v1/instances"] = (200, {"status": "FAILED", "message": "why"})
    with pytest.raises(Exception, match="Error creating instance: why"):
        service.save(known)
    with pytest.raises(ValueError, match="save needs an instance_reference"):
        service.save(web())


def test_children_are_found_and_ensured(http: Recorder, client: Any) -> None:
    path = "/api/v1/instance/main/i/children"
    http.planned[path] = (200, {"instances": [FOUND]})
    wanted = {"child_packet_type": "WEB", "attribute_name": "colour", "attribute_value": "red"}
    assert client.get_child_instance("i", branch="main", **wanted) == FOUND
    assert http.last == ("GET", path, {"packetType": "WEB", "attributeName": "colour", "attributeValue": "red"})
    http.planned["/api/v1/container/c/instances/i/children"] = (200, {"instances": []})
    assert client.get_child_instance("i", "c") is None
    http.planned[path] = (200, {"instances": [FOUND, FOUND]})
    with pytest.raises(Exception, match="Multiple instances"):
        client.get_child_instance("i", branch="main")
    kind = module("json.json_instance").JsonInstance
    reference = module("json.instance_reference").InstanceReference("h\\o\\r\\main", "c", "i", "e")
    made = type("Web", (kind,), {"to_json_fields": lambda _: {"colour": "red"}})(parent_instance_reference=reference)
    made.save(parent_instance_guid="i", parent_container_guid="c")
    assert http.last == (
        "POST",
        "/api/v1/instance/master/c/instances/i/children/ensure",
        {"instances": [{"colour": "red"}]},
    )
    made.saveInstance()
    assert http.last == ("POST", "/api/v1/instances/h%5Co%5Cr%5Cmain/e/c/i/addInstance", {"colour": "red"})
    http.planned["/api/v1/instance/master/i/children/ensure"] = (500, {"detail": "broken"})
    with pytest.raises(Exception, match="500: broken"):
        client.ensure_instance(made, "i")


def test_data_of_a_form_comes_from_a_url(http: Recorder, client: Any) -> None:
    del client
    http.planned["/data"] = (200, {"items": [1]})
    form = module("json.json_form").JsonForm(form_json={})
    form.add_data_part("rows", data_part_url=f"{http.url}/data")
    assert form.generate_json()["json"]["dataParts"][0]["data"] == {"items": [1]}
    assert "Authorization" not in http.requests[0][2]
