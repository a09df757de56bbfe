"""Fixtures that every test may use; nothing here needs torch."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from fault.tally import TALLY
from hypothesis import HealthCheck, settings
from support import filled_store, make_small_set

from xttsreg.stores.layout import LayoutStore

# quick: the default, and what CI runs. deep: by hand, `pytest --hypothesis-profile deep`.
_ALWAYS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
settings.register_profile(
    "quick", max_examples=50, deadline=None, derandomize=True, suppress_health_check=_ALWAYS
)
settings.register_profile("deep", max_examples=3000, deadline=None, suppress_health_check=_ALWAYS)
settings.load_profile("quick")


# A shell starts what it puts into the background with Ctrl-C ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--faults", default="some", choices=["some", "all"], help="how many to try")
    group.addoption("--many-seconds", default="6", help="how long many processes work at once")
    group.addoption("--fuzz-seconds", default="0", help="how long each reader is fuzzed")
    group.addoption("--fault-seed", default="1", help="of the samples that `some` takes")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands over what it counted."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["faults"] = TALLY.rows()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker counted is counted here."""
    for kind, operation, tried, lost in getattr(node, "workeroutput", {}).get("faults", []):
        TALLY.add(kind, operation, tried=tried, lost=lost)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The table of faults, if any were tried."""
    lines = TALLY.lines()
    if len(lines) > 2:
        choice, seed = config.getoption("--faults"), config.getoption("--fault-seed")
        terminalreporter.section(f"faults: {choice} (seed {seed})")
        terminalreporter.write_line("\n".join(lines))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An XTTSREG_HOME that is empty."""
    return tmp_path / "home"


@pytest.fixture(scope="session")
def shared_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small weight set. Only to be read."""
    return make_small_set(tmp_path_factory.mktemp("weights") / "small")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A small weight set of one's own."""
    return make_small_set(tmp_path / "weights")


@pytest.fixture
def store(tmp_path: Path) -> LayoutStore:
    """An empty store."""
    return LayoutStore.create(tmp_path / "store")


@pytest.fixture
def filled(tmp_path: Path, weights: Path) -> LayoutStore:
    """A store that has ``own:v1``."""
    return filled_store(tmp_path / "filled", weights)
