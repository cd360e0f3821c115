"""The server's certificate: the given one, or a self-signed one made at the first start."""

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


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Give certificate and key below `folder`, made when they are not there or soon expire."""
    certificate, key = folder / "server.crt", folder / "server.key"
    if not (key.exists() and _is_good(certificate)):
        _write(certificate, key)
    return certificate, key


def _is_good(certificate: Path) -> bool:
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return False
    return loaded.not_valid_after_utc - utc_now() > RENEW_BEFORE


def _write(certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    host = socket.gethostname() or "localhost"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Infraxys")])
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    if host.isascii() and host != "localhost":
        names.append(x509.DNSName(host))
    names += [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
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
