"""libpq's TLS parameters, and the SSLContext that means the same to asyncpg.

https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION says what each mode checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from circle_migrate.errors import SettingsError

if TYPE_CHECKING:
    import ssl

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SYSTEM = "system"
# "allow" and "prefer" may fall back to no encryption, so they check nothing.
_WEAK = frozenset({"allow", "prefer"})
# libpq reads `ssl=true` of JDBC URLs as `sslmode=require`; the others are its obvious relatives.
_SWITCHES = {
    **dict.fromkeys(("true", "on", "yes", "1"), "require"),
    **dict.fromkeys(("false", "off", "no", "0"), "disable"),
}
_DEFAULT_MINIMUM = "TLSv1.2"
_VERSIONS = (_DEFAULT_MINIMUM, "TLSv1.3")
_OBSOLETE = ("TLSv1", "TLSv1.1")
# Required by PostgreSQL 17+ for sslnegotiation=direct.
_ALPN = ["postgresql"]
_FILES = {
    "sslrootcert": "root.crt",
    "sslcert": "postgresql.crt",
    "sslkey": "postgresql.key",
    "sslcrl": "root.crl",
}


class Tls(NamedTuple):
    """How a connection is encrypted and whom it trusts; files are paths, `rootcert` may be "system"."""

    mode: str = "prefer"
    rootcert: str | None = None
    cert: str | None = None
    key: str | None = None
    password: str | None = None
    crl: str | None = None
    minimum: str = _DEFAULT_MINIMUM
    maximum: str | None = None
    direct: bool = False

    def __repr__(self) -> str:
        return f"Tls({self.parameters})"  # without the key's password

    @property
    def parameters(self) -> dict[str, str]:
        """The settings that are not the default, as libpq writes them; without the key's password."""
        shown = {
            "sslmode": self.mode if self.mode != "prefer" else None,
            "sslrootcert": self.rootcert,
            "sslcert": self.cert,
            "sslkey": self.key,
            "sslcrl": self.crl,
            "ssl_min_protocol_version": self.minimum if self.minimum != _DEFAULT_MINIMUM else None,
            "ssl_max_protocol_version": self.maximum,
            "sslnegotiation": "direct" if self.direct else None,
        }
        return {key: value for key, value in shown.items() if value}

    def connect_kwargs(self) -> dict[str, Any]:
        """The keywords of `asyncpg.connect` for this; raises SettingsError when a file cannot be loaded."""
        if self.mode == "disable":
            return {"ssl": False, "direct_tls": False}
        if self.mode not in _WEAK:
            return {"ssl": self.context(), "direct_tls": self.direct}
        # Only for a mode by name does asyncpg try the connection a second time without encryption, and
        # then it takes the rest from nowhere but a DSN.
        rest = {
            key: value
            for key, value in self.parameters.items()
            if key not in {"sslmode", "sslrootcert", "sslcrl"}
        }
        if self.password:
            rest["sslpassword"] = self.password
        dsn = {"dsn": f"postgresql://?{urlencode(rest)}"} if rest else {}
        return {"ssl": self.mode, "direct_tls": False, **dsn}

    def context(self) -> ssl.SSLContext:
        """The context for "require" and stronger. Raises SettingsError when a file cannot be loaded."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = self.mode == "verify-full"
        # "require" checks the chain when there is a root certificate, as libpq does for compatibility.
        context.verify_mode = ssl.CERT_REQUIRED if self.rootcert else ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion[self.minimum.replace(".", "_")]
        if self.maximum:
            context.maximum_version = ssl.TLSVersion[self.maximum.replace(".", "_")]
        context.set_alpn_protocols(_ALPN)
        loading = "the system's certificates"
        try:
            if self.rootcert == SYSTEM:
                context.load_default_certs()
            elif self.rootcert:
                loading = f"sslrootcert {self.rootcert}"
                context.load_verify_locations(cafile=self.rootcert)
            if self.crl:
                loading = f"sslcrl {self.crl}"
                context.load_verify_locations(cafile=self.crl)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
            if self.cert:
                loading = f"sslcert {self.cert} with its key"
                # Without a password function OpenSSL would ask on the terminal.
                context.load_cert_chain(self.cert, self.key, password=lambda: self.password or "")
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(
                f"{loading} cannot be loaded", detail=error.strerror or type(error).__name__
            ) from None
        return context


def read(parameters: Mapping[str, str], home: Path, source: str) -> Tls:
    """The TLS settings of a connection over TCP, with libpq's default files in `home`/.postgresql.

    Raises SettingsError for a value libpq does not know, a combination it refuses, or a missing file.
    """
    mode = read_mode(parameters, source)
    direct = _one_of(parameters, "sslnegotiation", ("postgres", "direct"), "postgres", source) == "direct"
    minimum = _one_of(
        parameters, "ssl_min_protocol_version", (*_VERSIONS, *_OBSOLETE), _DEFAULT_MINIMUM, source
    )
    maximum = _one_of(parameters, "ssl_max_protocol_version", _VERSIONS, "", source)
    if mode == "disable":
        return Tls(mode=mode)
    if direct and mode in _WEAK:
        raise SettingsError(
            f"{source} asks for sslnegotiation=direct with a weak sslmode",
            hint="add sslmode=require or stronger",
        )
    files = {key: _file(key, parameters, home, source) for key in _FILES}
    if mode.startswith("verify") and not files["sslrootcert"]:
        raise SettingsError(
            f"{source} asks for sslmode={mode}, and there is no root certificate to check the server against",
            hint="add sslrootcert=FILE, or sslrootcert=system for the system's certificates,"
            f" or put it at {_default('root.crt', home)}",
        )
    return Tls(
        mode=mode,
        rootcert=files["sslrootcert"] if mode not in _WEAK else None,
        cert=files["sslcert"],
        key=files["sslkey"] if files["sslcert"] else None,
        password=parameters.get("sslpassword"),
        crl=files["sslcrl"] if mode not in _WEAK else None,
        minimum=minimum if minimum in _VERSIONS else _DEFAULT_MINIMUM,
        maximum=maximum or None,
        direct=direct,
    )


def read_mode(parameters: Mapping[str, str], source: str) -> str:
    """The sslmode, in libpq's spelling."""
    trusts_system = parameters.get("sslrootcert") == SYSTEM
    default = "verify-full" if trusts_system else "prefer"
    given = parameters.get("sslmode", default).lower().replace("_", "-")
    mode = _one_of({"sslmode": _SWITCHES.get(given, given)}, "sslmode", MODES, default, source)
    if trusts_system and mode != "verify-full":
        raise SettingsError(
            f"{source} asks for sslrootcert=system with a weaker sslmode than verify-full",
            hint="anybody can have a certificate the system trusts: use sslmode=verify-full",
        )
    return mode


def _one_of(
    parameters: Mapping[str, str], key: str, allowed: tuple[str, ...], default: str, source: str
) -> str:
    value = parameters.get(key, default)
    if value != default and value not in allowed:
        raise SettingsError(f"{source} has an unknown {key}", hint=f"{key} is one of {', '.join(allowed)}")
    return value


def _default(name: str, home: Path) -> Path:
    return home / ".postgresql" / name


def _file(key: str, parameters: Mapping[str, str], home: Path, source: str) -> str | None:
    given = parameters.get(key)
    if given is None:
        default = _default(_FILES[key], home)
        return str(default) if default.is_file() else None
    if given != SYSTEM and not Path(given).is_file():
        raise SettingsError(
            f"{source} names a file for {key} that does not exist", hint=f"check the path in {key}"
        )
    return given
