"""libpq's TLS keywords, and the SSLContext that means the same to asyncpg.

https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION says what each mode checks.
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
# These may fall back to no encryption, so they check nothing.
WEAK = frozenset({"allow", "prefer"})
# libpq reads `ssl=true` of JDBC URLs as `sslmode=require`; the others are its obvious relatives.
_SWITCHES = {
    **dict.fromkeys(("true", "on", "yes", "1"), "require"),
    **dict.fromkeys(("false", "off", "no", "0"), "disable"),
}
# Said outright, as asyncpg looks into PGSSLNEGOTIATION otherwise.
_NO_TLS = {"sslmode": "disable", "sslnegotiation": "postgres"}
_DEFAULT_FILES = {
    "sslrootcert": "root.crt",
    "sslcert": "postgresql.crt",
    "sslkey": "postgresql.key",
    "sslcrl": "root.crl",
}


def _sslmode(parameters: Mapping[str, str]) -> str:
    """The sslmode in libpq's spelling."""
    trusts_system = parameters.get("sslrootcert") == _SYSTEM
    given = parameters.get("sslmode", "verify-full" if trusts_system else DEFAULTS["sslmode"])
    given = given.lower().replace("_", "-")
    mode = choice({"sslmode": _SWITCHES.get(given, given)}, "sslmode")
    if trusts_system and mode != "verify-full":
        raise InvalidUrl(
            "asks for sslrootcert=system with a weaker sslmode than verify-full",
            hint="anybody can have a certificate the system trusts: use sslmode=verify-full",
        )
    return mode


def settings(parameters: Mapping[str, str], home: Path, *, over_tcp: bool) -> dict[str, str]:
    """The TLS keywords of a connection, with libpq's default files in `home`/.postgresql; "" is not set.

    Raises InvalidUrl for a value libpq does not know, a combination it refuses, or a missing file.
    """
    mode = _sslmode(parameters)
    if not over_tcp:
        return _NO_TLS  # Like libpq: nothing to encrypt on a Unix socket.
    if mode == "verify-full" and {"host", "hostaddr"} <= parameters.keys():
        raise InvalidUrl(
            "has host and hostaddr with sslmode=verify-full: the driver checks the certificate"
            " against what it connects to",
            hint="take hostaddr out",
        )
    negotiation = choice(parameters, "sslnegotiation")
    minimum = choice(parameters, "ssl_min_protocol_version")
    maximum = choice(parameters, "ssl_max_protocol_version")
    if mode == "disable":
        return _NO_TLS
    if negotiation == "direct" and mode in WEAK:
        raise InvalidUrl(
            "asks for sslnegotiation=direct with a weak sslmode", hint="add sslmode=require or stronger"
        )
    folder = home / ".postgresql"
    files = {key: _file(key, parameters, folder / name) for key, name in _DEFAULT_FILES.items()}
    if mode.startswith("verify") and not files["sslrootcert"]:
        raise InvalidUrl(
            f"asks for sslmode={mode}, and there is no root certificate to check the server against",
            hint="add sslrootcert=FILE, or sslrootcert=system for the system's certificates,"
            f" or put it at {folder / 'root.crt'}",
        )
    if mode in WEAK:
        files |= {"sslrootcert": "", "sslcrl": ""}
    if not files["sslcert"]:
        files["sslkey"] = ""
    return {
        "sslmode": mode,
        **files,
        "sslpassword": parameters.get("sslpassword", ""),
        # Obsolete versions are raised to the oldest that is safe.
        "ssl_min_protocol_version": max(minimum, DEFAULTS["ssl_min_protocol_version"]),
        "ssl_max_protocol_version": maximum,
        "sslnegotiation": negotiation,
    }


def context(parameters: Mapping[str, str]) -> ssl.SSLContext:
    """The context for "require" and stronger. Raises SettingsError when a file cannot be loaded.

    asyncpg makes such a context itself, but without "system" and without naming the file that is at fault.
    """
    import ssl

    rootcert, crl, cert = (parameters.get(key) for key in ("sslrootcert", "sslcrl", "sslcert"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = parameters["sslmode"] == "verify-full"
    # "require" checks the chain when there is a root certificate, as libpq does for compatibility.
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
            # Without a password function OpenSSL would ask on the terminal.
            context.load_cert_chain(
                cert, parameters.get("sslkey"), password=lambda: parameters.get("sslpassword", "")
            )
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"{loading} cannot be loaded", detail=error.strerror or type(error).__name__
        ) from None
    return context


def _file(key: str, parameters: Mapping[str, str], default: Path) -> str:
    """The path of a file that exists, or `system`; "" where none is given and the default does not exist."""
    path = parameters.get(key)
    if path is None:
        return str(default) if default.is_file() else ""
    if path != _SYSTEM and not Path(path).is_file():
        raise InvalidUrl(f"names a file for {key} that does not exist", hint=f"check the path in {key}")
    return path
