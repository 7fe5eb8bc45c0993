"""The rules that findings refer to, one record per rule.

Reports show the texts (SARIF beside each finding); a rule's remedy stands in for a finding without its own.
A finding made from an error has the error's code as its rule. Hazards of `safety-check` are not listed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Rule(NamedTuple):
    """A kind of problem: its title, its effect, and the remedy."""

    id: str
    title: str
    effect: str
    remedy: str


_ALL = (
    # State of the databases.
    Rule(
        "pending",
        "Revisions are pending",
        "The database lacks objects that this release of the code expects.",
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
        "A prepared transaction keeps its locks until it is committed or rolled back.",
        "Run `circle-migrate recover`.",
    ),
    Rule(
        "edited-revision",
        "Applied revision was edited",
        "The file differs from the applied text: new databases get another schema than existing ones.",
        "Restore the file and put the change into a new revision; "
        "`circle-migrate log --source REVISION` prints the text that was applied.",
    ),
    Rule(
        "unmet-requirement",
        "Requirement not met",
        "A revision is applied in one database, but the revision that it requires in the other is not: "
        "a run was interrupted between two commits, or a version was set by hand.",
        "Run `circle-migrate upgrade`.",
    ),
    Rule(
        "schema-changed",
        "Schema changed since the last run",
        "Another program than circle-migrate has changed the schema, or has rebuilt an index.",
        "Run `circle-migrate diff --drift` to see what differs from the applied revisions.",
    ),
    Rule(
        "invalid-index",
        "Invalid index",
        "CREATE INDEX CONCURRENTLY did not finish: the index slows down every write and serves no query, "
        "and a UNIQUE index does not guarantee that existing rows are unique.",
        "Drop the index and build it again, or run the revision that creates it.",
    ),
    Rule(
        "wrong-database",
        "Wrong database",
        "Both URLs reach the same database, or they are swapped: revisions would run in the wrong database.",
        "Correct DATABASE_URL or CREDS_DATABASE_URL; `circle-migrate config show` prints their sources.",
    ),
    # Revision files.
    Rule(
        "broken-tree",
        "Broken revision file",
        "The revisions of a database do not form a valid graph.",
        "Correct the file that is named.",
    ),
    Rule(
        "several-heads",
        "Several heads",
        "`head` is ambiguous, so an upgrade has no single target.",
        "Join the heads with `circle-migrate merge`, or set `down_revision` so that one follows the other.",
    ),
    Rule(
        "unreachable-from-base",
        "Revision does not follow the base branch",
        "The base branch has a newer revision: after the merge, the tree has several heads.",
        "Merge or rebase onto the base branch, and set `down_revision` to its head.",
    ),
    Rule(
        "no-downgrade",
        "Revision without a downgrade",
        "A release that contains the revision cannot be reverted by a command.",
        'Write `downgrade()`, or give the reason in the file: irreversible = "why".',
    ),
    Rule(
        "not-transactional",
        "Statement that cannot run in a transaction",
        "PostgreSQL refuses the statement in a transaction; outside of one, it is not rolled back "
        "with the other steps.",
        "Set `transactional = False` in the revision file.",
    ),
    Rule(
        "models-differ",
        "Models and revisions differ",
        "The revisions create another schema than the one that the code expects.",
        "Apply pending revisions, write the missing revision with `circle-migrate revision --autogenerate`, "
        "or correct the models.",
    ),
    # Plans.
    Rule(
        "not-traced",
        "Plan was not traced",
        "It is not known which locks the plan takes, which tables it rewrites and whether it fails: "
        "the text of the revisions does not show it.",
        "Provide a scratch database (the `embedded` extra, or `--scratch-url`), and write the "
        "revision so that it runs on empty tables.",
    ),
    # Comparisons.
    Rule(
        "drift",
        "Database differs from its revisions",
        "The database was changed outside of the revisions: revisions may fail on it, "
        "and new databases differ from it.",
        "Revert the change with the statements of `circle-migrate diff live revisions@current --format sql`, "
        "or write it into a revision with `circle-migrate diff --format alembic`.",
    ),
    Rule(
        "differs",
        "Two catalogues differ",
        "The two sides of the comparison are not the same.",
        "`circle-migrate diff FROM TO --format sql` writes the statements that lead from one to the other.",
    ),
    Rule(
        "unused-ignore-rule",
        "Ignore rule hides nothing",
        "The rule is misspelt or no longer needed; later it may hide another difference.",
        "Correct or delete the rule.",
    ),
    Rule(
        "expired-ignore-rule",
        "Ignore rule has expired",
        "The rule hides nothing any more.",
        "Resolve the difference and delete the rule, or give the rule a later date.",
    ),
    Rule(
        "stale-snapshot",
        "Shipped snapshot is out of date",
        "The snapshot is not used, so a comparison needs a server for scratch databases.",
        "Write it anew with `circle-migrate dev snapshots`.",
    ),
    # Consistency of the databases.
    Rule(
        "orphan",
        "Key without its partner in the other database",
        "A foreign key cannot span two databases: readers of both find half of the data, or the row "
        "is attached to whichever row gets the key next.",
        "Determine which side is correct, and delete the row or insert its partner; after a restore, "
        "restore both databases from one backup.",
    ),
    Rule(
        "missing-column",
        "Related column does not exist",
        "The databases cannot be checked against each other.",
        "Run `circle-migrate diff` to see whether the column was dropped, or correct the declared relation.",
    ),
    Rule(
        "key-types-differ",
        "Related columns have different types",
        "A key of one side may not fit into the other.",
        "Give both columns the same type with a new revision.",
    ),
    # Errors.
    Rule(
        "unreachable",
        "Server unreachable",
        "The state of the database is unknown.",
        "Check that the server runs and that host, port and TLS settings of the URL are correct.",
    ),
    Rule(
        "missing-database",
        "Database does not exist",
        "The server answers, but it has no database of that name.",
        "Correct the name in the URL, or create the database with `circle-migrate init`.",
    ),
    Rule(
        "missing-privilege",
        "Missing privilege",
        "The role lacks a privilege that the command needs.",
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
        "The state of the database is unknown.",
        "Correct user and password of the URL.",
    ),
    Rule(
        "lock-not-obtained",
        "Lock not obtained",
        "Another deployer, or a session with a conflicting lock, held the lock for too long.",
        "Wait until that session ends, or raise `--lock-wait`.",
    ),
    Rule(
        "migration-failed",
        "Migration failed",
        "A step failed, and its transaction was rolled back.",
        "Correct the cause that the server names, and run the command again.",
    ),
    Rule(
        "half-applied",
        "Revision half applied",
        "A step that commits by itself failed, and what it had committed stays.",
        "Undo by hand what the message lists, or make the revision safe to run again; "
        "then run the command again.",
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
        "A backup could not be restored; the message says what each database contains.",
        "Correct the cause that is named, and continue as the message says.",
    ),
    Rule(
        "broken-backup",
        "Backup not valid",
        "The backup is truncated, edited, or was not made by circle-migrate; it was not restored.",
        "Use another copy of the backup.",
    ),
    Rule(
        "refused",
        "Refused by a guard",
        "A guard stopped the command before anything was changed.",
        "Follow the hint of the error.",
    ),
    Rule(
        "not-confirmed",
        "Not confirmed",
        "A question was answered with no, or there was no terminal to ask on.",
        "Answer the question with yes, or add `--yes`.",
    ),
    Rule(
        "settings",
        "Setting missing or wrong",
        "The command could not start.",
        "Run `circle-migrate config show` to see the settings and where each comes from.",
    ),
    Rule(
        "usage",
        "Command line not understood",
        "The command could not start.",
        "Add `--help` to the command to see its options.",
    ),
    Rule(
        "interrupted",
        "Run interrupted",
        "A run ended before it was complete; the server rolls back what was not committed.",
        "Run the command again; if the process was killed, run `circle-migrate recover` first.",
    ),
    Rule(
        "internal-error",
        "Internal error",
        "An unexpected error occurred; this is a bug in circle-migrate.",
        "Run the command again with `--debug` and report what it prints.",
    ),
)

RULES: Mapping[str, Rule] = {rule.id: rule for rule in _ALL}
"""Every rule by its id."""
