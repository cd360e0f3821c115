"""The data folder and the certificate."""

import ipaddress
import ssl
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from infraxys.kit.clock import utc_now
from infraxys.kit.files import write_private
from infraxys.server import tls
from infraxys.server.data_folder import DataFolder
from infraxys.server.serve import CannotServe, check_bind, choose_certificate
from infraxys.server.settings import Settings


def test_the_certificate_is_made_once_and_names_this_machine(tmp_path: Path) -> None:
    certificate, key = tls.self_signed(tmp_path / "tls")
    first = certificate.read_bytes()
    assert tls.self_signed(tmp_path / "tls") == (certificate, key)
    assert certificate.read_bytes() == first
    names = x509.load_pem_x509_certificate(first).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert {str(ip) for ip in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)


@pytest.mark.parametrize("damage", ["old", "torn", "no key"])
def test_a_certificate_that_is_of_no_use_is_made_again(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tls.self_signed(tmp_path)
    if damage == "old":
        later = utc_now() + tls.LIFETIME - timedelta(days=1)
        monkeypatch.setattr(tls, "utc_now", lambda: later)
    elif damage == "torn":
        certificate.write_bytes(certificate.read_bytes()[:100])
    else:
        key.unlink()
    before = certificate.read_bytes()
    tls.self_signed(tmp_path)
    assert certificate.read_bytes() != before
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)


def test_certificates_that_cannot_be_used_are_one_clear_line(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data", tmp_path / "work")
    (tmp_path / "bad.pem").write_text("nonsense")
    for name in ("bad.pem", "none.pem"):
        settings = Settings(tls_cert=tmp_path / name, tls_key=tmp_path / name)
        with pytest.raises(CannotServe, match=name):
            choose_certificate(settings, folder)
    with pytest.raises(CannotServe, match="belong together"):
        choose_certificate(Settings(tls_cert=tmp_path / "bad.pem"), folder)
    assert choose_certificate(Settings(no_tls=True), folder) == (None, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_b11_developer_mode_binds_to_this_machine_only(host: str) -> None:
    with pytest.raises(CannotServe, match="developer mode"):
        check_bind(Settings(host=host))
    check_bind(Settings(host=host, mode="server"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_developer_mode_binds_to_loopback(host: str) -> None:
    check_bind(Settings(host=host))


def test_a_file_that_is_there_is_not_overwritten_unless_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "file"
    assert write_private(file, b"1", replace=False)
    assert not write_private(file, b"2", replace=False)
    assert file.read_bytes() == b"1"
    assert write_private(file, b"3", replace=True)
    assert file.read_bytes() == b"3"
    assert list(file.parent.iterdir()) == [file]


def test_f1_only_the_work_folder_can_be_open_to_others(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data", tmp_path / "work")
    folder.prepare()
    for part in (folder.database, folder.keys, folder.tls, folder.modules, folder.logs):
        assert stat.S_IMODE(part.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.path.stat().st_mode) & 0o007 == 0


def test_a_work_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "work").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="work folder"):
        DataFolder(tmp_path / "data", tmp_path / "work").prepare()


def test_the_certificate_names_the_address_that_the_server_listens_on(tmp_path: Path) -> None:
    certificate, _ = tls.self_signed(tmp_path)
    first = certificate.read_bytes()
    tls.self_signed(tmp_path, "0.0.0.0")
    assert certificate.read_bytes() == first
    tls.self_signed(tmp_path, "192.0.2.1")
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ipaddress.ip_address("192.0.2.1") in names.get_values_for_type(x509.IPAddress)
    second = certificate.read_bytes()
    tls.self_signed(tmp_path, "192.0.2.1")
    assert certificate.read_bytes() == second
