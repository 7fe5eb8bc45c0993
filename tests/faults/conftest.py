"""Small trees of a shop, two databases emptied for every test, and processes that end themselves.

Making a pair of databases takes a second, emptying one a few milliseconds; there are many tests here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployments import project_folder
from tests.faults.killed_process import KilledProcesses
from tests.faults.shop import Shop
from tests.faults.states import clear
from tests.servers import Databases, Server, created_pair, run

__all__ = ["project_folder"]


@pytest.fixture
def own_shop(project_folder: Path) -> Shop:
    """A shop for this test in the current directory, without revisions."""
    return Shop(project_folder)


@pytest.fixture(scope="session")
def _shared_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.write_standard_trees()
    return shop


@pytest.fixture
def shop(_shared_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The shop with the standard trees as the current directory; read only."""
    monkeypatch.chdir(_shared_shop.folder)
    return _shared_shop


@pytest.fixture(scope="session")
def _pair(server: Server) -> Iterator[Databases]:
    with created_pair(server) as pair:
        yield pair


@pytest.fixture
def databases(_pair: Databases) -> Databases:
    """Two empty databases, main and credentials."""
    run(clear(_pair))
    return _pair


@pytest.fixture(scope="session")
def killed_processes() -> Iterator[KilledProcesses]:
    """Processes that end themselves."""
    with KilledProcesses() as killed_processes:
        yield killed_processes
