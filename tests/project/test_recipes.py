"""The recipes in docs/ are valid by their schemas and have the settings that their pages name.

That their commands exist is for test_documented_commands.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

from circle_migrate.config.databases import PLATFORM
from circle_migrate.config.settings import DEFAULT_SECRETS
from circle_migrate.core.errors import ExitCode

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "docs" / "recipes"
DOCKERFILE = RECIPES / "docker" / "Dockerfile"
JOBS = ["job", "helm-hook", "argocd-presync"]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def kubernetes(stem: str) -> Any:
    return load(RECIPES / "kubernetes" / f"{stem}.yaml")


def leaf(tree: Any, path: str) -> Any:
    for step in path.split("."):
        tree = tree[int(step) if step.isdigit() else step]
    return tree


# GitHub, GitLab, Compose: the schemas that check-jsonschema brings along, without network


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("github/workflow.yml", ["--builtin-schema", "vendor.github-workflows"]),
        ("github/workflow.yml", ["--builtin-schema", "custom.github-workflows-require-timeout"]),
        ("github/action.yml", ["--builtin-schema", "vendor.github-actions"]),
        ("gitlab/gitlab-ci.yml", ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"]),
        ("docker/compose.yaml", ["--builtin-schema", "vendor.compose-spec"]),
    ],
)
def test_files_follow_the_published_schemas(file: str, options: list[str]) -> None:
    done = CliRunner().invoke(check_jsonschema, [*options, str(RECIPES / file)])
    assert done.exit_code == 0, done.output


def test_the_workflow_can_compare_with_the_base_and_does_not_cancel_a_migration() -> None:
    jobs = load(RECIPES / "github" / "workflow.yml")["jobs"]
    checkout = jobs["check"]["steps"][0]
    assert checkout["uses"].startswith("actions/checkout@")
    assert checkout["with"]["fetch-depth"] == 0
    assert jobs["deploy"]["concurrency"]["cancel-in-progress"] is False
    assert set(jobs["deploy"]["env"]) == {database.url_variable for database in PLATFORM}


def test_the_action_runs_the_words_it_is_given_in_its_own_process(tmp_path: Path) -> None:
    action = load(RECIPES / "github" / "action.yml")["runs"]
    assert action["using"] == "composite"
    assert all(step["shell"] == "bash" and "${{" not in step["run"] for step in action["steps"])
    tool = tmp_path / "circle-migrate" / "bin" / "circle-migrate"
    tool.parent.mkdir(parents=True)
    tool.write_text('#!/bin/sh\nprintf "%s\\n" $$ "$@"\nexit 7\n', encoding="utf-8")
    tool.chmod(0o755)
    environment = os.environ | {"RUNNER_TEMP": str(tmp_path), "ARGUMENTS": "check  --base * $HOME"}
    script = tmp_path / "step.sh"  # a file, as on a runner: given -c, bash would exec the last command itself
    script.write_text(action["steps"][-1]["run"], encoding="utf-8")
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate()
    assert out.split("\n")[:-1] == [str(process.pid), "check", "--base", "*", "$HOME"]
    assert process.returncode == 7


def test_the_gitlab_job_ends_as_its_check_does_and_keeps_its_reports() -> None:
    jobs = load(RECIPES / "gitlab" / "gitlab-ci.yml")
    check = jobs["migrations:check"]
    (line,) = [line for line in check["script"] if line.startswith("circle-migrate check")]
    for kind, file in check["artifacts"]["reports"].items():
        assert f"--report {'gitlab' if kind == 'codequality' else kind}={file}" in line
    assert "||" not in line
    assert check["artifacts"]["when"] == "always"
    assert jobs["migrations:deploy"]["interruptible"] is False


# pre-commit


def test_the_hook_looks_at_whole_trees_when_a_revision_changes() -> None:
    [hook] = load(ROOT / ".pre-commit-hooks.yaml")
    assert {"id", "name", "entry", "language", "files"} <= hook.keys()
    assert hook["pass_filenames"] is False
    revisions = [name(path) for path in (ROOT / "circle_migrate" / "revisions").rglob("*_*.py")]
    for path in [*revisions, "migrations/versions/1a2b_add_users.py", "pyproject.toml"]:
        assert re.search(hook["files"], path), path
    assert not re.search(hook["files"], "app/models.py")


# Docker


def test_the_image_runs_without_root_and_without_a_shell() -> None:
    steps = re.findall(r"^([A-Z]+) (.+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    last = dict(steps)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert json.loads(last["ENTRYPOINT"]) == ["circle-migrate"]
    allowed = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [
        word for step, rest in steps if step == "COPY" and "--from" not in rest for word in rest.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in allowed, source


def test_compose_has_the_databases_of_the_platform() -> None:
    compose = load(RECIPES / "docker" / "compose.yaml")
    services = compose["services"]
    ports = {
        services[known.name]["environment"]["POSTGRES_DB"]: services[known.name]["ports"]
        for known in PLATFORM
    }
    assert ports == {
        "mens_circle_main": ["127.0.0.1:5432:5432"],
        "mens_circle_creds": ["127.0.0.1:5433:5432"],
    }
    assert services["migrate"]["secrets"] == [known.url_variable for known in PLATFORM]
    assert set(compose["secrets"]) == {
        secret for service in services.values() for secret in service.get("secrets", [])
    }
    # --atomic is refused: some revisions of the package cannot run in a transaction.
    assert services["migrate"]["command"] == ["upgrade"]
    assert services["app"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


# Kubernetes


@pytest.mark.parametrize("stem", [*JOBS, "init-container"])
def test_pods_have_no_rights_and_read_their_urls_from_files(stem: str) -> None:
    document = kubernetes(stem)
    assert {"apiVersion", "kind", "metadata", "spec"} <= document.keys()
    pod = leaf(document, "spec.template.spec")
    user = int(re.search(r"^USER (\d+)", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)[1])  # type: ignore[index]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == user
    container = (pod["initContainers"] if stem == "init-container" else pod["containers"])[0]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"].keys() == {"requests", "limits"}
    [mount] = container["volumeMounts"]
    [volume] = pod["volumes"]
    assert (mount["mountPath"], mount["name"]) == (str(DEFAULT_SECRETS), volume["name"])
    assert volume["secret"]["defaultMode"] == 0o440


@pytest.mark.parametrize("stem", JOBS)
def test_jobs_end_and_are_tried_again_only_where_that_may_help(stem: str) -> None:
    job = kubernetes(stem)["spec"]
    assert 0 <= job["backoffLimit"] <= 2
    assert 0 < job["activeDeadlineSeconds"] <= 3600
    assert leaf(job, "template.spec.restartPolicy") == "Never"
    assert leaf(job, "template.spec.terminationGracePeriodSeconds") >= 30
    evicted, final = job["podFailurePolicy"]["rules"]
    assert (evicted["action"], leaf(evicted, "onPodConditions.0.type")) == ("Ignore", "DisruptionTarget")
    assert (final["action"], leaf(final, "onExitCodes.operator")) == ("FailJob", "NotIn")
    retried = [ExitCode.LOCKED, ExitCode.UNREACHABLE, ExitCode.TERMINATED]
    assert leaf(final, "onExitCodes.values") == retried


def test_jobs_differ_only_in_what_starts_them() -> None:
    jobs = [kubernetes(stem)["spec"] for stem in JOBS]
    for job in jobs:
        job.pop("ttlSecondsAfterFinished", None)
        job.pop("activeDeadlineSeconds")
        job["template"]["spec"]["containers"][0].pop("image")
    assert all(left == right for left, right in pairwise(jobs))


@pytest.mark.parametrize(
    ("stem", "annotations"),
    [
        (
            "helm-hook",
            {
                "helm.sh/hook": "pre-install,pre-upgrade",
                "helm.sh/hook-weight": "0",
                "helm.sh/hook-delete-policy": "before-hook-creation",
            },
        ),
        (
            "argocd-presync",
            {
                "argocd.argoproj.io/hook": "PreSync",
                "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
            },
        ),
    ],
)
def test_hooks_run_before_the_release_and_leave_their_log(stem: str, annotations: dict[str, str]) -> None:
    hook = kubernetes(stem)
    assert hook["metadata"]["annotations"] == annotations
    assert "ttlSecondsAfterFinished" not in hook["spec"]
    assert "name" in hook["metadata"]
