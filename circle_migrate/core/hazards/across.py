"""What one database of a deployment does to the other; no foreign key holds between them."""

from __future__ import annotations

from circle_migrate.core.hazards.record import Example, Hazard, HazardClass
from circle_migrate.core.hazards.tables import USERS

_CREDENTIALS = (
    "CREATE TABLE user_credentials (user_id bigint PRIMARY KEY);\n"
    "INSERT INTO user_credentials SELECT n FROM generate_series(1, 200) AS n;\n"
)
_SMALL_USERS = "CREATE TABLE users (id integer PRIMARY KEY);\n"
_SMALL_CREDENTIALS = "CREATE TABLE user_credentials (user_id integer PRIMARY KEY);\n"
_PHONES = USERS + "ALTER TABLE users ADD COLUMN phone_code text;\n"

ACROSS = (
    Hazard(
        "CM070",
        "Step relies on one of the other database that is committed later",
        HazardClass.CORRECTNESS,
        "A column or table is dropped here that the other database gets in a later segment of the plan, or "
        "is read there (dblink, a foreign table) before it is committed.",
        "Each database commits for itself. When the later segment fails, what was to be moved is in neither "
        "of them; and a step that reads uncommitted tables of the other waits for its own run, which no "
        "deadlock detection can see.",
        'Let the revision that builds on the other say so, `requires = "database@revision"`, and let a '
        "release lie between making the new place and removing the old one.",
        bad=Example(
            _PHONES,
            'op.drop_column("users", "phone_code")',
            then=Example(
                _CREDENTIALS,
                'op.add_column("user_credentials", sa.Column("phone_code", sa.Text()))',
                transactional=False,
                second=True,
            ),
        ),
        good=Example(
            _CREDENTIALS,
            'op.add_column("user_credentials", sa.Column("phone_code", sa.Text()))',
            transactional=False,
            second=True,
            then=Example(_PHONES, 'op.drop_column("users", "phone_code")', requires=True),
        ),
    ),
    Hazard(
        "CM071",
        "Column that looks like a secret is added where secrets do not belong",
        HazardClass.CORRECTNESS,
        "A column whose name speaks of a password, hash, salt, token, secret or key is added to a database "
        "that is not the one for credentials.",
        "Nobody waits. Every role, backup and replica of that database gets to see what the second database "
        "was made to keep apart.",
        "Add it to the database for credentials, beside the row of the same user.",
        bad=Example(USERS, 'op.add_column("users", sa.Column("password_hash", sa.String(255)))'),
        good=Example(
            _CREDENTIALS,
            'op.add_column("user_credentials", sa.Column("password_hash", sa.String(255)))',
            second=True,
        ),
    ),
    Hazard(
        "CM072",
        "Key that both databases share changes its type in one of them",
        HazardClass.CORRECTNESS,
        "The type of users.id or of user_credentials.user_id changes, and no step of the plan changes the "
        "other to the same.",
        "Inserts fail (22003) on the day a key of the wider type does not fit the narrower one, and no "
        "foreign key says so before.",
        "Change both in one plan: a column of the new type beside the old one in each, filled and swapped in "
        "step, and one revision that requires the other.",
        bad=Example(_SMALL_USERS, 'op.alter_column("users", "id", type_=sa.BigInteger())'),
        good=Example(
            _SMALL_CREDENTIALS,
            'op.add_column("user_credentials", sa.Column("user_id_big", sa.BigInteger()))',
            second=True,
            then=Example(
                _SMALL_USERS,
                'op.add_column("users", sa.Column("id_big", sa.BigInteger()))',
                requires=True,
            ),
        ),
    ),
)
