"""TLS keywords of libpq, and the equivalent SSLContext for asyncpg.

For the checks of each mode, see https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.config.url.keywords import DEFAULTS, InvalidUrl, choice
from circle_migrate.core.errors import SettingsError

if TYPE_CHECKING:
    import ssl

_SYSTEM = "system"
# Modes that may fall back to no encryption, and so check nothing.
WEAK = frozenset({"allow", "prefer"})
# libpq reads `ssl=true` of JDBC URLs as `sslmode=require`; the other spellings are added here.
_BOOLEAN_MODES = {
    **dict.fromkeys(("true", "on", "yes", "1"), "require"),
    **dict.fromkeys(("false", "off", "no", "0"), "disable"),
}
# Without sslnegotiation, asyncpg would read PGSSLNEGOTIATION.
_NO_TLS = {"sslmode": "disable", "sslnegotiation": "postgres"}
_DEFAULT_FILES = {
    "sslrootcert": "root.crt",
    "sslcert": "postgresql.crt",
    "sslkey": "postgresql.key",
    "sslcrl": "root.crl",
}


def _sslmode(parameters: Mapping[str, str]) -> str:
    """Return the sslmode in libpq's spelling."""
    trusts_system = parameters.get("sslrootcert") == _SYSTEM
    mode = parameters.get("sslmode", "verify-full" if trusts_system else DEFAULTS["sslmode"])
    mode = mode.lower().replace("_", "-")
    mode = choice({"sslmode": _BOOLEAN_MODES.get(mode, mode)}, "sslmode")
    if trusts_system and mode != "verify-full":
        raise InvalidUrl(
            "has sslrootcert=system with a weaker sslmode than verify-full",
            hint="use sslmode=verify-full: anybody can get a certificate that the system trusts",
        )
    return mode


def settings(parameters: Mapping[str, str], home: Path, *, over_tcp: bool) -> dict[str, str]:
    """Return the TLS keywords of a connection, with libpq's default files in `home`/.postgresql; "" is unset.

    Raises InvalidUrl for a value or a combination that libpq refuses, and for a missing file.
    """
    mode = _sslmode(parameters)
    if not over_tcp:
        return _NO_TLS  # As in libpq, a Unix socket is not encrypted.
    if mode == "verify-full" and {"host", "hostaddr"} <= parameters.keys():
        raise InvalidUrl(
            "has host and hostaddr with sslmode=verify-full: the driver would check the certificate"
            " against hostaddr",
            hint="remove hostaddr",
        )
    negotiation = choice(parameters, "sslnegotiation")
    minimum = choice(parameters, "ssl_min_protocol_version")
    maximum = choice(parameters, "ssl_max_protocol_version")
    if mode == "disable":
        return _NO_TLS
    if negotiation == "direct" and mode in WEAK:
        raise InvalidUrl(
            "has sslnegotiation=direct with a weak sslmode", hint="add sslmode=require or stronger"
        )
    folder = home / ".postgresql"
    files = {key: _file(key, parameters, folder / name) for key, name in _DEFAULT_FILES.items()}
    if mode.startswith("verify") and not files["sslrootcert"]:
        raise InvalidUrl(
            f"has sslmode={mode}, but there is no root certificate to check the server with",
            hint="add sslrootcert=FILE, or sslrootcert=system for the system's certificates,"
            f" or save the certificate as {folder / 'root.crt'}",
        )
    if mode in WEAK:
        files |= {"sslrootcert": "", "sslcrl": ""}
    if not files["sslcert"]:
        files["sslkey"] = ""
    return {
        "sslmode": mode,
        **files,
        "sslpassword": parameters.get("sslpassword", ""),
        # Obsolete versions are raised to the oldest secure one.
        "ssl_min_protocol_version": max(minimum, DEFAULTS["ssl_min_protocol_version"]),
        "ssl_max_protocol_version": maximum,
        "sslnegotiation": negotiation,
    }


def context(parameters: Mapping[str, str]) -> ssl.SSLContext:
    """Return the context for "require" and stronger. Raises SettingsError if a file cannot be loaded.

    The context that asyncpg creates does not support "system", and its errors do not name the file.
    """
    import ssl

    rootcert, crl, cert = (parameters.get(key) for key in ("sslrootcert", "sslcrl", "sslcert"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = parameters["sslmode"] == "verify-full"
    # As in libpq, "require" checks the chain if there is a root certificate.
    context.verify_mode = ssl.CERT_REQUIRED if rootcert else ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion[parameters["ssl_min_protocol_version"].replace(".", "_")]
    if maximum := parameters.get("ssl_max_protocol_version"):
        context.maximum_version = ssl.TLSVersion[maximum.replace(".", "_")]
    context.set_alpn_protocols(["postgresql"])  # PostgreSQL 17+ requires it for sslnegotiation=direct.
    loading = "the system's certificates"
    try:
        if rootcert == _SYSTEM:
            context.load_default_certs()
        elif rootcert:
            loading = f"sslrootcert {rootcert}"
            context.load_verify_locations(cafile=rootcert)
        if crl:
            loading = f"sslcrl {crl}"
            context.load_verify_locations(cafile=crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        if cert:
            loading = f"sslcert {cert} with its key"
            # Without a password function, OpenSSL would prompt on the terminal.
            context.load_cert_chain(
                cert, parameters.get("sslkey"), password=lambda: parameters.get("sslpassword", "")
            )
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"{loading} cannot be loaded", detail=error.strerror or type(error).__name__
        ) from None
    return context


def _file(key: str, parameters: Mapping[str, str], default: Path) -> str:
    """Return the path of an existing file, or `system`; "" if unset and the default does not exist."""
    path = parameters.get(key)
    if path is None:
        return str(default) if default.is_file() else ""
    if path != _SYSTEM and not Path(path).is_file():
        raise InvalidUrl(f"names a file for {key} that does not exist", hint=f"check the path in {key}")
    return path
