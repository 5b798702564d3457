"""Every planted fault is caught by the test that names it, and that test has nothing against the library as
it is."""

import functools

import pytest
from mutations import FAULTS, explain, failure, find, outcome

from tools import equation_index

every_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name.replace(" ", "-"))


@functools.cache
def complaint(test):
    e = failure(find(test)[1])
    return None if e is None else explain(e)


@every_fault
def test_fault_is_caught(fault):
    assert complaint(fault.test) is None, f"{fault.test} fails without a fault: {complaint(fault.test)}"
    assert outcome(fault) is not None, f"{fault.test} does not notice: {fault.name} ({fault.where})"
    assert failure(find(fault.test)[1]) is None, "the fault outlived its patch"


def test_every_equation_has_a_fault_that_its_own_test_catches():
    found, _ = equation_index.index()
    tests = {fault.test for fault in FAULTS}
    assert not [e.tag for e in found.values() if not tests & {*e.tests}]


def test_there_are_enough_and_their_names_differ():
    assert len(FAULTS) >= 25
    assert len({f.name for f in FAULTS}) == len(FAULTS)
    assert {f.where.split(".")[0] for f in FAULTS} >= {
        "schedule",
        "forward",
        "training",
        "sampling",
        "unet",
        "data",
    }


def test_a_fault_that_no_longer_fits_is_an_error():
    from mutations import Fault

    with pytest.raises(LookupError, match="no longer fits forward.q_sample: 'alphabar' is not in its source"):
        outcome(Fault("stale", "forward.q_sample", "alphabar", "x", "test_training.test_warmup_cosine"))
