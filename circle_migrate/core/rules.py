"""What a finding can be about: a closed vocabulary, one record each.

The records feed the reports (SARIF shows them beside each finding) and stand in for a remedy where the
finding has none of its own. A finding made from an error is about the error's code. Findings of
`safety-check` are about hazards instead, which have records of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Rule(NamedTuple):
    """One thing that can be wrong: what it is called, what follows from it, and what to do."""

    id: str
    title: str
    effect: str
    remedy: str


_ALL = (
    # Where the databases stand.
    Rule(
        "pending",
        "Revisions are pending",
        "The database lacks what this release of the code expects of it.",
        "Run `circle-migrate upgrade` before this release takes traffic.",
    ),
    Rule(
        "unknown-revision",
        "Database ahead of, or unknown to, this package",
        "A newer release, or a branch that is not part of this one, has migrated the database. "
        "Nothing can be planned from a revision whose file is missing.",
        "Use the release that has the revision, or bring its file into this one.",
    ),
    Rule(
        "in-doubt",
        "Transaction in doubt",
        "A run ended between the commits of the two databases. "
        "Until that is settled, a prepared transaction keeps its locks.",
        "Run `circle-migrate recover`.",
    ),
    Rule(
        "edited-revision",
        "Applied revision was edited",
        "The file no longer says what was run: new databases get something else than existing ones.",
        "Restore the file and put the change into a new revision; "
        "`circle-migrate log --source REVISION` prints the text that was applied.",
    ),
    Rule(
        "unmet-requirement",
        "Requirement not met",
        "A revision is applied in one database, and what it requires of the other is not: a run was cut off "
        "between two commits, or a version was set by hand.",
        "Run `circle-migrate upgrade`.",
    ),
    Rule(
        "schema-changed",
        "Schema changed since the last run",
        "Something else than circle-migrate has changed the schema, if only by rebuilding an index.",
        "`circle-migrate diff --drift` says what differs from the applied revisions.",
    ),
    Rule(
        "invalid-index",
        "Invalid index",
        "CREATE INDEX CONCURRENTLY did not finish: the index costs every write and serves no query, "
        "and a UNIQUE one does not hold for the rows there are.",
        "Drop the index and build it again, or run the revision that creates it.",
    ),
    Rule(
        "wrong-database",
        "Wrong database",
        "Both URLs reach the same database, or they are swapped: revisions would run in the wrong one.",
        "Correct DATABASE_URL or CREDS_DATABASE_URL; `circle-migrate config show` says where they come from.",
    ),
    # What the revision files are like.
    Rule(
        "broken-tree",
        "Broken revision file",
        "The revisions of a database do not form a tree that can be planned over.",
        "Correct the file that is named.",
    ),
    Rule(
        "several-heads",
        "Several heads",
        "`head` has no single meaning, so an upgrade does not know where to go.",
        "Join them with `circle-migrate merge`, or let one of them follow the other.",
    ),
    Rule(
        "unreachable-from-base",
        "Revision does not follow the base branch",
        "The base branch has got a revision in the meantime: once merged, the tree has several heads.",
        "Merge or rebase onto the base branch and let `down_revision` name its head.",
    ),
    Rule(
        "no-downgrade",
        "Revision without a downgrade",
        "A release that has it cannot be taken back by a command.",
        'Write `downgrade()`, or say in the file why there is none: irreversible = "why".',
    ),
    Rule(
        "not-transactional",
        "Statement that cannot run in a transaction",
        "PostgreSQL refuses it in a transaction, and run outside of one it would not be rolled back "
        "with the other steps.",
        "Say `transactional = False` in the revision's file.",
    ),
    Rule(
        "models-differ",
        "Models and revisions differ",
        "A database made by the revisions is not the one that the code is written for.",
        "Apply what is pending, write the missing revision with `circle-migrate revision --autogenerate`, "
        "or correct the models.",
    ),
    # What a plan would do.
    Rule(
        "not-traced",
        "Plan was not traced",
        "Nobody knows which locks it takes, what it rewrites and whether it fails; text alone does not tell.",
        "Give the command a scratch database (the `embedded` extra, or `--scratch-url`), and let the "
        "revision run on empty tables.",
    ),
    # How two catalogues of a database differ.
    Rule(
        "drift",
        "Database differs from its revisions",
        "Somebody has changed it by other means: revisions may fail on it, and a new one is not like it.",
        "Undo it, as `circle-migrate diff live revisions@current --format sql` sketches, or write it into a "
        "revision, as `circle-migrate diff --format alembic` does.",
    ),
    Rule(
        "differs",
        "Two catalogues differ",
        "What was compared is not the same.",
        "`circle-migrate diff FROM TO --format sql` sketches the way from one to the other.",
    ),
    Rule(
        "unused-ignore-rule",
        "Ignore rule hides nothing",
        "It may be misspelt, or what it was written for has gone; some day it hides something else.",
        "Correct it, or take it out.",
    ),
    Rule(
        "expired-ignore-rule",
        "Ignore rule has expired",
        "It hides nothing any more.",
        "Settle what it was written for and take it out, or give it another day.",
    ),
    Rule(
        "stale-snapshot",
        "Shipped snapshot is out of date",
        "It is not used, so that a comparison needs a server for scratch databases, or cannot be made.",
        "Write it anew with `circle-migrate dev snapshots`.",
    ),
    # How the databases fit together.
    Rule(
        "orphan",
        "Key without its partner in the other database",
        "No foreign key reaches across: what reads both databases finds half of what it needs, or the row "
        "comes to belong to whoever gets the key next.",
        "Find out which side is right, and delete the row or write its partner; after a restore, "
        "restore both databases of one backup.",
    ),
    Rule(
        "missing-column",
        "Related column does not exist",
        "Nothing says whether the databases fit together.",
        "`circle-migrate diff` shows whether somebody dropped it; else correct the declared relation.",
    ),
    Rule(
        "key-types-differ",
        "Related columns have different types",
        "A key of one side may not fit into the other.",
        "Give both columns one type, by a revision of the database that is wrong.",
    ),
    # Why something could not be looked at, or was not done.
    Rule(
        "unreachable",
        "Server unreachable",
        "Nothing is known of the database.",
        "Check that the server runs and that host, port and TLS settings of the URL are right.",
    ),
    Rule(
        "missing-database",
        "Database does not exist",
        "The server answers, and has no database of that name.",
        "Correct the name in the URL, or create the database with `circle-migrate init`.",
    ),
    Rule(
        "missing-privilege",
        "Missing privilege",
        "The role may not do what the command needs.",
        "Grant the privilege that is named, or use another role.",
    ),
    Rule(
        "not-writable",
        "Server not writable",
        "The server is a standby or read-only; an upgrade would be refused.",
        "Use the URL of the primary.",
    ),
    Rule(
        "authentication-failed",
        "Role or password refused",
        "Nothing is known of the database.",
        "Correct user and password of the URL.",
    ),
    Rule(
        "lock-not-obtained",
        "Lock not obtained",
        "Another deployer, or a session with a conflicting lock, held on for longer than the wait allowed.",
        "Wait for it to end, or raise `--lock-wait`.",
    ),
    Rule(
        "migration-failed",
        "Migration failed",
        "A step failed, and its transaction was rolled back.",
        "Correct what the server objects to, and run the command again.",
    ),
    Rule(
        "backup-failed",
        "Backup failed",
        "A dump could not be completed, so there is no backup.",
        "Correct the cause that is named, and run the command again.",
    ),
    Rule(
        "restore-failed",
        "Restore failed",
        "A backup could not be restored; the message says what each database holds.",
        "Correct the cause that is named, and go on as the message says.",
    ),
    Rule(
        "broken-backup",
        "Backup not sound",
        "A backup is cut off, edited, or none of this tool's; it was not restored.",
        "Take another copy of the backup.",
    ),
    Rule(
        "refused",
        "Refused by a guard",
        "A guard stopped the command before anything was touched.",
        "Follow the hint that comes with it.",
    ),
    Rule(
        "not-confirmed",
        "Not confirmed",
        "A question was answered with no, or there was nobody to ask.",
        "Answer it, or give `--yes`.",
    ),
    Rule(
        "settings",
        "Setting missing or wrong",
        "The command could not begin.",
        "`circle-migrate config show` prints the settings that hold and where each comes from.",
    ),
    Rule(
        "usage",
        "Command line not understood",
        "The command could not begin.",
        "`--help` after the command lists what it takes.",
    ),
    Rule(
        "interrupted",
        "Run interrupted",
        "A run ended before it was through; the server rolls back what was not committed.",
        "Run the command again, after `circle-migrate recover` where it was killed.",
    ),
    Rule(
        "internal-error",
        "Internal error",
        "Nobody foresaw this; it is a bug.",
        "Run the command again with `--debug` and report what it prints.",
    ),
)

RULES: Mapping[str, Rule] = {rule.id: rule for rule in _ALL}
"""Every rule by its id."""
