"""`masktune api` told to stop: what it has accepted is answered, and then it ends with exit code 0."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import make_url

from tests.integration.app.serving.conftest import furnished, picture
from tests.integration.app.serving.processes import Replica
from tests.support.proxies import PausingProxy

pytestmark = pytest.mark.faults

CLIENTS, IMAGES = 3, 64


@pytest.mark.slow
def test_sigterm_under_load_loses_no_answer(tmp_path: Path) -> None:
    with furnished(tmp_path) as world:
        pass
    pictures = [picture(n, side=400) for n in range(6)]
    files = [("file", (f"{n}.png", pictures[n % 6])) for n in range(IMAGES)]
    with closing(Replica(tmp_path)) as api, ThreadPoolExecutor(CLIENTS) as threads, httpx2.Client() as eye:
        api.await_ready()

        def ask(_: int) -> int:
            answer = httpx2.post(f"{api.url}/predict", params={"model": world.model}, files=files, timeout=60)
            assert len(answer.json()["predictions"]) == IMAGES
            return answer.status_code

        assert ask(0) == 200  # loaded
        asked = [threads.submit(ask, n) for n in range(CLIENTS)]
        # All of them, and the request for the metrics itself.
        while f"masktune_requests_in_flight {CLIENTS + 1}.0" not in eye.get(f"{api.url}/metrics").text:
            assert not any(one.done() for one in asked), "the service was too quick for this test"
        api.terminate()
        assert [one.result(60) for one in asked] == [200] * CLIENTS
        assert api.wait() == 0


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_it_ends_on_sigterm_while_its_database_answers_nothing(tmp_path: Path, database_url: str) -> None:
    """Else whoever restarts it waits until it is killed: threads wait for the database, and it for them."""
    address = make_url(database_url)
    with (
        closing(PausingProxy(str(address.host), address.port or 5432)) as proxy,
        ThreadPoolExecutor(1) as threads,
    ):
        url = address.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        seconds = {"GRACEFUL_SHUTDOWN_SECONDS": "1", "SWEEP_SECONDS": "600"}
        with closing(Replica(tmp_path, DATABASE_URL=url, **seconds)) as api:
            api.await_ready()
            proxy.pause()
            asked = threads.submit(httpx2.get, f"{api.url}/jobs", timeout=60)
            with pytest.raises(TimeoutError):
                asked.result(1)  # it waits for the database
            api.terminate()
            assert api.wait() == 1
            assert isinstance(asked.exception(60), httpx2.HTTPError) or asked.result().status_code == 503
