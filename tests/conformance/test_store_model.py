"""The inbox of every store against a model that is too simple to be wrong.

With ``HYPOTHESIS_PROFILE=long`` there are new histories each time, many more and longer ones.
"""

import os
from collections.abc import Callable
from functools import partial

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conformance.conftest import Make
from tests.conformance.inbox_machine import InboxMachine
from tests.conformance.inbox_pair import KEPT

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
HISTORIES = {"sqlite": 30, "mongo": 4}
"""Few enough that the suites of both stores take a minute together."""
ALWAYS = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False)


def test_inbox_agrees_with_a_row_per_reader(new_database: Callable[[], Make], kind: str) -> None:
    class Machine(InboxMachine):
        def __init__(self) -> None:
            super().__init__(partial(new_database(), retention=KEPT), thorough=LONG)

    short = settings(ALWAYS, derandomize=True, max_examples=HISTORIES[kind], stateful_step_count=30)
    long = settings(ALWAYS, max_examples=int(os.environ.get("HISTORIES", "1000")), stateful_step_count=60)
    run_state_machine_as_test(Machine, settings=long if LONG else short)
