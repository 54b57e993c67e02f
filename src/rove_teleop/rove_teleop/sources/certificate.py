# SPDX-License-Identifier: Apache-2.0
"""The web certificate of this machine, made on the first run and kept: a private certificate authority and a server
certificate of it.

Two, so that a headset which trusts the authority once goes on trusting when the machine's addresses change and the
server's certificate is made anew. The authority may vouch for private networks and this machine's own names and
addresses only, so a lost key does not let anyone imitate the rest of the web.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY, SERVER = "rove-ca", "server"
AUTHORITY_DAYS, SERVER_DAYS = 3650, 397  # Apple's devices accept at most 825 days, browsers soon less
RENEW_DAYS = 30
PRIVATE = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
    "fe80::/10",
)


@dataclass(frozen=True)
class WebCertificate:
    """Files for the server (PEM), the authority to be trusted, its SHA-256 fingerprint, and the host names covered."""

    cert: Path
    key: Path
    authority: Path
    fingerprint: str
    names: tuple[str, ...]


def machine_names() -> list[str]:
    host = socket.gethostname().lower()
    return list(dict.fromkeys(["localhost", host, f"{host.split('.')[0]}.local", socket.getfqdn().lower()]))


def machine_addresses() -> list[str]:
    """IP addresses of this machine's interfaces, loopback first."""
    found = ["127.0.0.1", "::1"]
    for entries in psutil.net_if_addrs().values():
        found += [e.address.split("%")[0] for e in entries if e.family in (socket.AF_INET, socket.AF_INET6)]
    return list(dict.fromkeys(found))


def provide(
    directory: str | Path, names: list[str] | None = None, addresses: list[str] | None = None
) -> WebCertificate:
    """The certificate in `directory`, made or renewed as needed. A server.crt of another authority is used as it is.

    Raises ValueError when the directory or its files cannot be used.
    """
    directory = Path(directory).expanduser()
    names = machine_names() if names is None else names
    hosts = [x509.DNSName(n) for n in names] + [
        x509.IPAddress(ipaddress.ip_address(a)) for a in addresses or machine_addresses()
    ]
    cert, key, authority = (directory / n for n in (f"{SERVER}.crt", f"{SERVER}.key", f"{AUTHORITY}.crt"))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        os.chmod(directory, 0o700)
        if cert.exists() and key.exists() and not authority.exists():  # the user's own
            own = _read(cert)
            return WebCertificate(cert, key, cert, _fingerprint(own), (*names, *_dns_names(own)))
        if not (authority.exists() and (directory / f"{AUTHORITY}.key").exists() and _vouches(_read(authority), hosts)):
            _make_authority(directory, hosts)
        issuer = _read(authority)
        if not (cert.exists() and key.exists() and _current(_read(cert), issuer, hosts)):
            _make_server(directory, issuer, hosts)
        return WebCertificate(cert, key, authority, _fingerprint(issuer), tuple(names))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no usable certificate in {directory}: {error}; delete its {AUTHORITY}.* and {SERVER}.* and a new one "
            f"is made (the headset "
            "has to trust it again), or put your own server.crt and server.key (PEM) there"
        ) from error


def _read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)]


def _lasts(certificate: x509.Certificate) -> bool:
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left > datetime.timedelta(days=RENEW_DAYS)


def _permitted(hosts) -> list[x509.GeneralName]:
    names = [h for h in hosts if isinstance(h, x509.DNSName)]
    networks = [ipaddress.ip_network(n) for n in PRIVATE] + [
        ipaddress.ip_network(h.value) for h in hosts if isinstance(h, x509.IPAddress)
    ]
    return [*names, *(x509.IPAddress(n) for n in dict.fromkeys(networks))]


def _vouches(authority: x509.Certificate, hosts) -> bool:
    permitted = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    networks = [p.value for p in permitted if isinstance(p, x509.IPAddress)]
    names = {p.value for p in permitted if isinstance(p, x509.DNSName)}
    covered = all(
        h.value in names
        if isinstance(h, x509.DNSName)
        else any(h.value in n for n in networks if n.version == h.value.version)  # type: ignore[operator]
        for h in hosts
    )
    return covered and _lasts(authority)


def _current(certificate: x509.Certificate, issuer: x509.Certificate, hosts) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    present = set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    return _lasts(certificate) and set(hosts) <= present


def _builder(subject: x509.Name, issuer: x509.Name, public_key, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # a headset's clock may be behind
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*on: str) -> x509.KeyUsage:
    flags = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{flag: flag in on for flag in flags})


def _make_authority(directory: Path, hosts) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"ROVE headset, {socket.gethostname()}"[:64])])
    certificate = (
        _builder(name, name, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.NameConstraints(_permitted(hosts), None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(directory, AUTHORITY, key, [certificate])


def _make_server(directory: Path, issuer: x509.Certificate, hosts) -> None:
    issuer_key = serialization.load_pem_private_key((directory / f"{AUTHORITY}.key").read_bytes(), password=None)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ROVE headset page")])
    certificate = (
        _builder(name, issuer.subject, key.public_key(), SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)  # type: ignore[arg-type]
        .sign(issuer_key, hashes.SHA256())  # type: ignore[arg-type]
    )
    _write(directory, SERVER, key, [certificate, issuer])


def _write(directory: Path, stem: str, key, chain: list[x509.Certificate]) -> None:
    """Key first (0600), then the certificate, each put in place whole."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for suffix, data, mode in (
        ("key", pem, 0o600),
        ("crt", b"".join(c.public_bytes(serialization.Encoding.PEM) for c in chain), 0o644),
    ):
        draft = directory / f".{stem}.{suffix}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        draft.replace(directory / f"{stem}.{suffix}")
