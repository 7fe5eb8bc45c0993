"""Measure circle-migrate beside similar tools, and list what each of them leaves to its user.

    ./run python benchmarks/peers.py --folder ../peers --install
    ./run python benchmarks/peers.py --folder ../peers --rounds 7 --write

Without `--folder`, only the tools on PATH run. All tools run the same statements on the same server, as
whole processes, on a new pair of databases each time: from empty to head, status, and an upgrade with nothing
to do. `--install` runs the commands of npm and pip for the folder, and prints those of apt, which change the
machine.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from databases import ROOT, bench, conditions, on_new_databases
from measurement import Contender, Job, Row
from projects import DATABASES, generate, statements

_PAGE = ROOT / "docs" / "peers.md"
_DUTIES = {
    "two deployers": "A second run at the same time waits or is refused.",
    "judgement": "It says before the run what a migration locks, rewrites or loses.",
    "both or neither": "Two databases are migrated together, and a failure on one leaves none changed.",
    "edited files": "An upgrade that has something to do is refused after an applied file was changed.",
    "drift": "It finds what was changed by hand in the database.",
}
_NO_PACKAGE = "goose, Flyway and Atlas are left out: PyPI, npm and Debian have no package that holds them."
_NPM = "npm install --silent --prefix {folder}"
_PIP = "{folder}/venv/bin/pip install --quiet"
_JOBS = "from empty to head", "status", "nothing to do"


@dataclass(frozen=True)
class Peer:
    """A tool: how it is installed, called and fed, and what it does besides.

    Commands and files are templates: `tree` is the folder of a database's migrations, `variable` the name of
    the environment variable with its URL, `address` the URL without its scheme, for a shell. A migration has
    `number`, `previous`, `up` and `down`. Texts for the same path are appended to each other.
    """

    name: str
    install: str
    program: str
    status: str
    upgrade: str
    source: str
    does: Collection[str] = ()
    note: str = ""
    files: Mapping[str, str] = field(default_factory=dict)  # one for each migration
    settings: Mapping[str, str] = field(default_factory=dict)
    calls: Collection[str] = tuple(DATABASES)

    def write(self, project: Path, revisions: Sequence[tuple[str, str]]) -> None:
        """Write the files of all trees."""
        for call in self.calls:
            for path, text in self.settings.items():
                self._append(project, path, text, **self._place(call))
            for number, (up, down) in enumerate(revisions, 1):
                of_revision = {"number": number, "previous": number - 1, "up": up, "down": down}
                for path, text in self.files.items():
                    self._append(project, path, text, **of_revision, **self._place(call))

    def contenders(self, environment: Mapping[str, str]) -> list[Contender]:
        """Return the three jobs."""
        commands = self.upgrade, self.status, self.upgrade
        return [
            Contender(
                job, [shlex.split(command.format(**self._place(call))) for call in self.calls], environment
            )
            for job, command in zip(_JOBS, commands, strict=True)
        ]

    def _place(self, call: str) -> dict[str, str]:
        return {
            "database": call,
            "tree": f"{call}/{self.name}",
            "variable": DATABASES[call],
            "address": f"${{{DATABASES[call]}#postgresql:}}",
        }

    def _append(self, project: Path, path: str, text: str, **values: object) -> None:
        target = project / str(values["tree"]) / path.format(**values)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a", encoding="utf-8") as file:
            file.write(text.format(**values))


_SETTINGS_PY = """\
import os

from psycopg.conninfo import conninfo_to_dict

url = conninfo_to_dict(os.environ["{variable}"])
DATABASES = {{
    "default": {{
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url["dbname"],
        "USER": url["user"],
        "HOST": url["host"],
        "PORT": url["port"],
    }}
}}
INSTALLED_APPS = ["app"]
USE_TZ = True
"""
_DJANGO_REVISION = """\
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("app", "{previous:04}_step")] if {previous} else []
    operations = [migrations.RunSQL({up!r}, {down!r})]
"""
_KNEXFILE = """\
module.exports = {{
  client: 'pg',
  connection: {{ connectionString: process.env.{variable} }},
  migrations: {{ directory: __dirname + '/migrations' }},
}}
"""
_SQITCH_CONF = """\
[core]
    engine = pg
[user]
    name = Benchmark
    email = benchmark@localhost
"""
_SQITCH_PLAN = "%syntax-version=1.0.0\n%project={database}\n\n"
_DBCONFIG = """\
development:
  dialect: postgres
  datasource: ${{{variable}}}
  dir: {tree}
  table: sql_migrations
"""
_ALEMBIC = {
    "install": "",
    "program": "alembic",
    "status": f"{sys.executable} -m alembic -c {{database}}/alembic.ini current",
    "upgrade": f"{sys.executable} -m alembic -c {{database}}/alembic.ini upgrade head",
    "source": "https://github.com/sqlalchemy/alembic/issues/633",
    "note": " (`alembic check` compares models with the database)",
}
_OURS = {
    "install": "",
    "program": "circle-migrate",
    "does": _DUTIES,
    "calls": ["main"],
    "source": "reliability.md",
}

PEERS = [
    Peer(
        name="circle-migrate",
        status=f"{sys.executable} -m circle_migrate status",
        upgrade=f"{sys.executable} -m circle_migrate upgrade",
        **_OURS,
    ),
    Peer(
        name="circle-migrate, one database",
        status=f"{sys.executable} -m circle_migrate status --database main",
        upgrade=f"{sys.executable} -m circle_migrate upgrade --database main",
        **_OURS,
    ),
    Peer(name="Alembic", **_ALEMBIC),
    Peer(name="Alembic, one database", calls=["main"], **_ALEMBIC),
    Peer(
        name="dbmate",
        install=f"{_NPM} dbmate",
        program="dbmate",
        status="dbmate --env {variable} --migrations-dir {tree} status",
        upgrade="dbmate --env {variable} --migrations-dir {tree} --no-dump-schema up",
        source="https://github.com/amacneil/dbmate/issues/101",
        files={"{number:014}_step.sql": "-- migrate:up\n{up};\n\n-- migrate:down\n{down};\n"},
    ),
    Peer(
        name="sql-migrate",
        install="apt-get install sql-migrate",
        program="sql-migrate",
        status="sql-migrate status -config={tree}/dbconfig.yml",
        upgrade="sql-migrate up -config={tree}/dbconfig.yml",
        source="https://github.com/rubenv/sql-migrate/issues/279",
        files={"{number:014}_step.sql": "-- +migrate Up\n{up};\n\n-- +migrate Down\n{down};\n"},
        settings={"dbconfig.yml": _DBCONFIG},
    ),
    Peer(
        name="node-pg-migrate",
        install=f"{_NPM} node-pg-migrate pg",
        program="node-pg-migrate",
        status="node-pg-migrate up --dry-run -d {variable} -m {tree}",
        upgrade="node-pg-migrate up -d {variable} -m {tree}",
        source="https://salsita.github.io/node-pg-migrate/cli",
        does=["two deployers"],
        note="; status (here `up --dry-run`)",
        files={"{number:013}_step.sql": "-- Up Migration\n{up};\n\n-- Down Migration\n{down};\n"},
    ),
    Peer(
        name="knex",
        install=f"{_NPM} knex pg",
        program="knex",
        status="knex migrate:list --knexfile {tree}/knexfile.js",
        upgrade="knex migrate:latest --knexfile {tree}/knexfile.js",
        source="https://knexjs.org/guide/migrations",
        does=["two deployers"],
        files={
            "migrations/{number:014}_step.js": "exports.up = (knex) => knex.raw(`{up}`);\n"
            "exports.down = (knex) => knex.raw(`{down}`);\n"
        },
        settings={"knexfile.js": _KNEXFILE},
    ),
    Peer(
        name="Django",
        install=f"{_PIP} Django 'psycopg[binary]'",
        program="django-admin",
        status="django-admin showmigrations --pythonpath {tree} --settings settings",
        upgrade="django-admin migrate --pythonpath {tree} --settings settings",
        source="https://docs.djangoproject.com/en/stable/topics/db/multi-db/",
        files={"app/migrations/{number:04}_step.py": _DJANGO_REVISION},
        settings={"settings.py": _SETTINGS_PY, "app/__init__.py": "", "app/migrations/__init__.py": ""},
    ),
    Peer(
        name="yoyo",
        install=f"{_PIP} yoyo-migrations 'psycopg[binary]'",
        program="yoyo",
        status='sh -c "exec yoyo list --no-config-file --database postgresql+psycopg:{address} {tree}"',
        upgrade='sh -c "exec yoyo apply -b --no-config-file --database postgresql+psycopg:{address} {tree}"',
        source="https://ollycope.com/software/yoyo/latest/",
        does=["two deployers"],
        files={"{number:04}_step.sql": "{up};\n", "{number:04}_step.rollback.sql": "{down};\n"},
    ),
    Peer(
        name="sqitch",
        install="apt-get install sqitch libdbd-pg-perl",
        program="sqitch",
        status='sh -c "exec sqitch --chdir {tree} status db:pg:{address}"',
        upgrade='sh -c "exec sqitch --chdir {tree} deploy db:pg:{address}"',
        source="https://sqitch.org/docs/manual/sqitch-check/",
        does=["two deployers"],
        note=" (`sqitch check` reports edited files)",
        files={
            "sqitch.plan": "step{number} 2024-01-01T00:00:00Z Benchmark <benchmark@localhost>\n",
            "deploy/step{number}.sql": "{up};\n",
            "revert/step{number}.sql": "{down};\n",
        },
        settings={"sqitch.conf": _SQITCH_CONF, "sqitch.plan": _SQITCH_PLAN},
    ),
]


def search_path(folder: Path | None) -> str:
    """Return PATH with the folder's programs first; dbmate's own rather than its wrapper in JavaScript."""
    places = [*folder.glob("node_modules/@dbmate/*/bin"), folder / "node_modules/.bin"] if folder else []
    places += [folder / "venv/bin"] if folder else []
    return os.pathsep.join([*map(str, places), os.environ["PATH"]])


def version(program: str, path: str) -> str:
    """Return the version that the program prints; empty if it prints none."""
    found = str(shutil.which(program, path=path))
    done = subprocess.run(
        [found, "--version"], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    number = re.search(r"\d+(\.\d+)+", done.stdout)
    return number[0] if number else ""


def install(folder: Path) -> None:
    """Install into the folder what goes there, and print the other commands."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    for command in dict.fromkeys(peer.install for peer in PEERS if peer.install):
        print(command)
        if "{folder}" in command:
            subprocess.run(shlex.split(command.format(folder=folder)), check=True)


def page(rows: Sequence[Row], path: str, text: str) -> Iterator[str]:
    """Yield the lines of the page."""
    yield from ("# circle-migrate beside other tools", "", text, "")
    yield f"| tool | {' | '.join(f'{job}, wall (CPU) s' for job in _JOBS)} | does not | source |"
    yield "| --- |" + " ---: |" * len(_JOBS) + " --- | --- |"
    for peer in PEERS:
        cells = [f"{row.wall:.2f} ({row.cpu:.2f})" for row in rows if row.job == peer.name]
        name = f"{peer.name} {version(peer.program, path)}".strip() if cells else peer.name
        lacks = ", ".join(duty for duty in _DUTIES if duty not in peer.does) or "-"
        cells = cells or [f"not installed: `{peer.install}`", *[""] * (len(_JOBS) - 1)]
        yield f"| {' | '.join([name, *cells, lacks + peer.note, f'[source]({peer.source})'])} |"
    yield from ("", *(f"- {duty}: {meaning}" for duty, meaning in _DUTIES.items()), "")
    yield _NO_PACKAGE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where --install puts the tools")
    parser.add_argument("--install", action="store_true", help="install, and measure nothing")
    parser.add_argument("--revisions", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7, help="after one that is not counted")
    parser.add_argument("--write", action="store_true", help=f"write {_PAGE.relative_to(ROOT)}")
    asked = parser.parse_args()
    folder = asked.folder and asked.folder.resolve()
    if asked.install:
        install(folder)
        return
    environment = {"PATH": search_path(folder), "NODE_PATH": f"{folder}/node_modules"}
    present = [peer for peer in PEERS if shutil.which(peer.program, path=environment["PATH"])]
    with bench() as (place, databases, major):
        project, revisions = place / "project", statements(asked.revisions)
        generate(project, revisions)
        for peer in present:
            peer.write(project, revisions)
        text = conditions(major, f"{asked.rounds} rounds after one that is not counted") + (
            f"{asked.revisions} revisions in each of two databases; medians of wall time and of the client's "
            "CPU time. A tool that migrates one database a call is called twice, unless its name says "
            "otherwise. What a tool does not do is from its documentation or its maintainers' words, and for "
            "edited files from a trial."
        )
        jobs = [Job(peer.name, peer.contenders(environment), project) for peer in present]
        on_new_databases(databases, jobs, 1)
        rows = on_new_databases(databases, jobs, asked.rounds)
    text = "\n".join(page(rows, environment["PATH"], text)) + "\n"
    print(text)
    if asked.write:
        _PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
