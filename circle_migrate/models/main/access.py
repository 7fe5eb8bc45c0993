"""Roles, permissions, the roles of users, and the log of changes to them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, PrimaryKeyConstraint, String, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from circle_migrate.models.base import CreatedAt, UpdatedAt
from circle_migrate.models.main.base import MainBase


class Role(MainBase):
    """A role of users.

    The platform knows six: member, facilitator (leads a circle), admin, leadership, ptm (production team
    manager) and support. An `is_system` role belongs to the platform itself, an `is_assignable` one can be
    given to users, `priority` is the rank of the role.
    """

    __tablename__ = "roles"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="roles_pkey"),
        Index("ix_roles_name", "name", unique=True),
    )

    id: Mapped[int] = mapped_column()
    name: Mapped[str] = mapped_column(String(50))
    description: Mapped[str] = mapped_column(String(255))
    is_system: Mapped[bool]
    is_assignable: Mapped[bool]
    priority: Mapped[int]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]


class Permission(MainBase):
    """The permission for an `action` on a kind of `resource`."""

    __tablename__ = "permissions"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="permissions_pkey"),
        Index("ix_permissions_name", "name", unique=True),
        Index("ix_permissions_action", "action"),
        Index("ix_permissions_resource", "resource"),
    )

    id: Mapped[int] = mapped_column()
    name: Mapped[str] = mapped_column(String(100))
    description: Mapped[str] = mapped_column(String(255))
    resource: Mapped[str] = mapped_column(String(50))
    action: Mapped[str] = mapped_column(String(50))
    is_system: Mapped[bool]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]


class RolePermission(MainBase):
    """A permission of a role. `created_at` is nullable in the old schema."""

    __tablename__ = "role_permissions"
    __table_args__ = (PrimaryKeyConstraint("role_id", "permission_id", name="role_permissions_pkey"),)

    role_id: Mapped[int] = mapped_column(ForeignKey("roles.id", name="role_permissions_role_id_fkey"))
    permission_id: Mapped[int] = mapped_column(
        ForeignKey("permissions.id", name="role_permissions_permission_id_fkey")
    )
    created_at: Mapped[datetime | None] = mapped_column(server_default=func.now())


class UserRole(MainBase):
    """A role of a user, from `assigned_at` until `expires_at` (null: until it is removed)."""

    __tablename__ = "user_roles"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="user_roles_pkey"),
        Index("ix_user_roles_user_id", "user_id"),
        Index("ix_user_roles_role_id", "role_id"),
    )

    id: Mapped[int] = mapped_column()
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", name="user_roles_user_id_fkey"))
    role_id: Mapped[int] = mapped_column(ForeignKey("roles.id", name="user_roles_role_id_fkey"))
    is_primary: Mapped[bool]
    assigned_by: Mapped[int | None] = mapped_column(
        ForeignKey("users.id", name="user_roles_assigned_by_fkey")
    )
    assigned_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    is_active: Mapped[bool]
    notes: Mapped[str | None] = mapped_column(Text)


class RoleAuditLog(MainBase):
    """A change to the roles of a user. `role_id` becomes null if the role is deleted; `role_name` remains."""

    __tablename__ = "role_audit_logs"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="role_audit_logs_pkey"),
        Index("ix_role_audit_logs_user_id", "user_id"),
        Index("ix_role_audit_logs_role_id", "role_id"),
        Index("ix_role_audit_logs_role_name", "role_name"),
        Index("ix_role_audit_logs_action", "action"),
        Index("ix_role_audit_logs_created_at", "created_at"),
    )

    id: Mapped[int] = mapped_column()
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", name="role_audit_logs_user_id_fkey"))
    role_id: Mapped[int | None] = mapped_column(ForeignKey("roles.id", name="role_audit_logs_role_id_fkey"))
    role_name: Mapped[str] = mapped_column(String(50))
    action: Mapped[str] = mapped_column(String(50))
    performed_by: Mapped[int | None] = mapped_column(
        ForeignKey("users.id", name="role_audit_logs_performed_by_fkey")
    )
    old_value: Mapped[str | None] = mapped_column(Text)
    new_value: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[CreatedAt]
