"""The server's certificate: the given one, or a self-signed one made at the first start."""

import contextlib
import ipaddress
import socket
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infraxys.kit.clock import utc_now
from infraxys.kit.files import write_private

LIFETIME = timedelta(days=825)
RENEW_BEFORE = timedelta(days=30)


def self_signed(folder: Path, address: str = "127.0.0.1") -> tuple[Path, Path]:
    """Give certificate and key below `folder`, made when they are not there, soon expire or lack the address."""
    certificate, key = folder / "server.crt", folder / "server.key"
    names = _names(address)
    if not (key.exists() and _is_good(certificate, names)):
        _write(certificate, key, names)
    return certificate, key


def _names(address: str) -> list[x509.GeneralName]:
    """Give what the server is called: this host, and the address that it listens on."""
    host = socket.gethostname() or "localhost"
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    if host.isascii() and host != "localhost":
        names.append(x509.DNSName(host))
    addresses = dict.fromkeys(("127.0.0.1", "::1"))
    with contextlib.suppress(ValueError):  # a name: this host's, or nobody's
        own = ipaddress.ip_address(address)
        addresses |= {} if own.is_unspecified else {str(own): None}
    return [*names, *(x509.IPAddress(ipaddress.ip_address(text)) for text in addresses)]


def _is_good(certificate: Path, names: list[x509.GeneralName]) -> bool:
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        known = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    has_addresses = all(name in known for name in names if isinstance(name, x509.IPAddress))
    return has_addresses and loaded.not_valid_after_utc - utc_now() > RENEW_BEFORE


def _write(certificate: Path, key: Path, names: list[x509.GeneralName]) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Infraxys")])
    now = utc_now()
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    text = private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # The certificate last and away before: what is there belongs together.
    certificate.unlink(missing_ok=True)
    write_private(key, text, replace=True)
    write_private(certificate, signed.public_bytes(pem), replace=True)
