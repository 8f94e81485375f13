"""TLS to an MLflow server: trusted when it should be, and only then."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from registry.environment import Access
from registry.errors import AccessDeniedError, StoreError
from registry.stores.rest import RestStore
from tests.fixtures.reverse_proxy import Reply, ReverseProxy, StartProxy

FOUND = Reply(body=b'{"registered_model": {"name": "m"}}')


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "greenroom test")])
    address = ipaddress.ip_address("127.0.0.1")
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(address)]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(built.public_bytes(serialization.Encoding.PEM) + secret)
    return file


@pytest.fixture
def server(certificate: Path, start_proxy: StartProxy) -> ReverseProxy:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return start_proxy(lambda _: FOUND, tls=context)


def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(server: ReverseProxy) -> None:
    with pytest.raises(AccessDeniedError, match="MLFLOW_TRACKING_SERVER_CERT_PATH"):
        RestStore(server.uri).get_model("m")


def test_the_authority_in_the_environment_is_trusted(server: ReverseProxy, certificate: Path) -> None:
    store = RestStore(server.uri, access=Access(server_cert_file=str(certificate)))
    assert store.get_model("m").name == "m"


def test_tls_is_not_checked_where_the_user_says_so(server: ReverseProxy) -> None:
    assert RestStore(server.uri, access=Access(is_tls_checked=False)).get_model("m").name == "m"


def test_a_client_certificate_is_shown_where_it_is_asked_for(
    certificate: Path, start_proxy: StartProxy
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    server = start_proxy(lambda _: FOUND, tls=context)
    access = Access(server_cert_file=str(certificate), client_cert_file=str(certificate))
    assert RestStore(server.uri, access=access).get_model("m").name == "m"


def test_a_certificate_file_that_does_not_exist_is_named_by_its_variable() -> None:
    with pytest.raises(AccessDeniedError, match="MLFLOW_TRACKING_SERVER_CERT_PATH"):
        RestStore("https://127.0.0.1:1", access=Access(server_cert_file="/no/such/file"))


def test_https_to_an_http_server_says_what_is_wrong(start_proxy: StartProxy) -> None:
    plain = start_proxy(lambda _: FOUND)
    with pytest.raises(StoreError, match="http:// perhaps"):
        RestStore(plain.uri.replace("http:", "https:")).get_model("m")
