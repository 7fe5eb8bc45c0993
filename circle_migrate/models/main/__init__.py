"""The main database: members and their roles, circles and their meetings, transfers, events.

    users ─┬─ user_roles ── roles ── role_permissions ── permissions        role_audit_logs
           ├─ circle_memberships ── circles ── meetings ── meeting_attendance
           ├─ transfer_requests (from one circle to another)
           └─ event_registrations ── events        registration_payments

A test compares `metadata` with the schema of the head revision.
"""

from circle_migrate.models.main.access import Permission, Role, RoleAuditLog, RolePermission, UserRole
from circle_migrate.models.main.base import metadata
from circle_migrate.models.main.circles import Circle, CircleMembership
from circle_migrate.models.main.events import Event, EventRegistration, RegistrationPayment
from circle_migrate.models.main.meetings import Meeting, MeetingAttendance
from circle_migrate.models.main.transfers import TransferRequest
from circle_migrate.models.main.users import User

__all__ = [
    "Circle",
    "CircleMembership",
    "Event",
    "EventRegistration",
    "Meeting",
    "MeetingAttendance",
    "Permission",
    "RegistrationPayment",
    "Role",
    "RoleAuditLog",
    "RolePermission",
    "TransferRequest",
    "User",
    "UserRole",
    "metadata",
]
