"""Whether models and revisions agree: the revisions run on a scratch database, compared with the models."""

from __future__ import annotations

from circle_migrate.author import changes
from circle_migrate.core.findings import Check, Finding, Severity
from circle_migrate.deployment import Deployment
from circle_migrate.errors import ExitCode
from circle_migrate.scratch import scratch
from circle_migrate.upgrade import upgrade

_TITLE = "models and revisions agree"


async def models_check(deployment: Deployment) -> Check:
    """Upgrade scratch databases from empty to head and ask autogenerate what it would still do.

    Raises what the upgrade raises: revisions that cannot run from empty agree with nothing.
    """
    findings = []
    async with scratch(deployment) as copies:
        await upgrade(copies)
        for name in copies.selected:
            bodies = await changes(copies.databases[name])
            if bodies is None:
                continue
            head = copies.graphs[name].heads[-1]
            findings.append(
                Finding(
                    rule="models-differ",
                    severity=Severity.ERROR,
                    message=f"{name}: the models are not what the revisions lead to",
                    status=ExitCode.DRIFT,
                    database=name,
                    revision=head,
                    detail=bodies["upgrade"],
                    remedy=f"circle-migrate revision --autogenerate -m TEXT --database {name}",
                    file=copies.graphs[name][head].path,
                    line=copies.graphs[name][head].line,
                )
            )
    return Check("models", _TITLE, tuple(findings))
