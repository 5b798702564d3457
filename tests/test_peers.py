"""Two other libraries as oracles, step for step and walk for walk.

Where they differ from us, the rows say by how much and why.

They are an extra: `pip install -e ".[dev,peers]"`, which `make test` and .ci/run install.
"""

import pytest

pytest.importorskip("diffusers", reason="the peers extra is not installed")
pytest.importorskip("azula", reason="the peers extra is not installed")
import peers  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:the schedule stops short of noise")


@pytest.mark.parametrize("name", peers.MEASURES)
def test_agrees_or_differs_as_explained(name):
    row = peers.MEASURES[name]()
    peers.check(row)
    assert row.agrees or row.why
