"""The state of the databases over HTTP, and sign-in, for an application to include."""

from typing import TYPE_CHECKING, Any

from circle_migrate.api.router import migration_router

if TYPE_CHECKING:
    from circle_migrate.api.auth.access_tokens import AccessClaims, AccessTokens
    from circle_migrate.api.auth.message import Message, MessageKind
    from circle_migrate.api.auth.router import auth_router

__all__ = ["AccessClaims", "AccessTokens", "Message", "MessageKind", "auth_router", "migration_router"]

_OF_SIGN_IN = {
    "AccessClaims": "access_tokens",
    "AccessTokens": "access_tokens",
    "Message": "message",
    "MessageKind": "message",
    "auth_router": "router",
}


def __getattr__(name: str) -> Any:
    """Import what belongs to sign-in when it is used: `serve` needs none of its libraries."""
    if name not in _OF_SIGN_IN:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.auth.{_OF_SIGN_IN[name]}"), name)
