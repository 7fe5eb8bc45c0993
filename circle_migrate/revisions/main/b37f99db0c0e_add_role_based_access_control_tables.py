"""Add role-based access control tables

Safe: only creates. Each foreign key takes a brief SHARE ROW EXCLUSIVE lock on `users`; the new tables are
empty, so there is nothing to check under it.
"""

import sqlalchemy as sa
from alembic import op

revision = "b37f99db0c0e"
down_revision = "dca7825748db"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "roles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(50), nullable=False),
        sa.Column("description", sa.String(255), nullable=False),
        sa.Column("is_system", sa.Boolean(), nullable=False),
        sa.Column("is_assignable", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("roles_pkey")),
    )
    op.create_index(op.f("ix_roles_id"), "roles", ["id"])
    op.create_index(op.f("ix_roles_name"), "roles", ["name"], unique=True)

    op.create_table(
        "permissions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("description", sa.String(255), nullable=False),
        sa.Column("resource", sa.String(50), nullable=False),
        sa.Column("action", sa.String(50), nullable=False),
        sa.Column("is_system", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("permissions_pkey")),
    )
    op.create_index(op.f("ix_permissions_action"), "permissions", ["action"])
    op.create_index(op.f("ix_permissions_id"), "permissions", ["id"])
    op.create_index(op.f("ix_permissions_name"), "permissions", ["name"], unique=True)
    op.create_index(op.f("ix_permissions_resource"), "permissions", ["resource"])

    op.create_table(
        "role_permissions",
        sa.Column("role_id", sa.Integer(), nullable=False),
        sa.Column("permission_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("role_id", "permission_id", name=op.f("role_permissions_pkey")),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("role_permissions_role_id_fkey")),
        sa.ForeignKeyConstraint(
            ["permission_id"], ["permissions.id"], name=op.f("role_permissions_permission_id_fkey")
        ),
    )

    op.create_table(
        "user_roles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("role_id", sa.Integer(), nullable=False),
        sa.Column("is_primary", sa.Boolean(), nullable=False),
        sa.Column("assigned_by", sa.Integer()),
        sa.Column("assigned_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("notes", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("user_roles_pkey")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("user_roles_user_id_fkey")),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("user_roles_role_id_fkey")),
        sa.ForeignKeyConstraint(["assigned_by"], ["users.id"], name=op.f("user_roles_assigned_by_fkey")),
    )
    op.create_index(op.f("ix_user_roles_id"), "user_roles", ["id"])
    op.create_index(op.f("ix_user_roles_role_id"), "user_roles", ["role_id"])
    op.create_index(op.f("ix_user_roles_user_id"), "user_roles", ["user_id"])

    op.create_table(
        "role_audit_logs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("role_id", sa.Integer()),
        sa.Column("role_name", sa.String(50), nullable=False),
        sa.Column("action", sa.String(50), nullable=False),
        sa.Column("performed_by", sa.Integer()),
        sa.Column("old_value", sa.Text()),
        sa.Column("new_value", sa.Text()),
        sa.Column("reason", sa.String(255)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("role_audit_logs_pkey")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("role_audit_logs_user_id_fkey")),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("role_audit_logs_role_id_fkey")),
        sa.ForeignKeyConstraint(
            ["performed_by"], ["users.id"], name=op.f("role_audit_logs_performed_by_fkey")
        ),
    )
    op.create_index(op.f("ix_role_audit_logs_action"), "role_audit_logs", ["action"])
    op.create_index(op.f("ix_role_audit_logs_created_at"), "role_audit_logs", ["created_at"])
    op.create_index(op.f("ix_role_audit_logs_id"), "role_audit_logs", ["id"])
    op.create_index(op.f("ix_role_audit_logs_role_id"), "role_audit_logs", ["role_id"])
    op.create_index(op.f("ix_role_audit_logs_role_name"), "role_audit_logs", ["role_name"])
    op.create_index(op.f("ix_role_audit_logs_user_id"), "role_audit_logs", ["user_id"])


def downgrade() -> None:
    op.drop_table("role_audit_logs")
    op.drop_table("user_roles")
    op.drop_table("role_permissions")
    op.drop_table("permissions")
    op.drop_table("roles")
