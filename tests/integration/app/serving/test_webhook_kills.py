"""`masktune api` killed while it sends to a webhook: the next process sends the message."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import update

from core.queries.webhooks import LEASE_SECONDS
from core.session import Database
from core.tables import DeliveryRow
from tests.integration.app.serving.processes import Replica
from tests.support.databases import sqlite_database
from tests.support.receiver import HANG, receiver
from tests.support.waits import wait_until

pytestmark = pytest.mark.faults


@pytest.mark.slow
def test_a_message_outlives_the_process_that_was_sending_it(tmp_path: Path) -> None:
    url = sqlite_database(tmp_path)
    with ExitStack() as stack:
        hook = stack.enter_context(receiver())
        hook.answers = [HANG]
        api = stack.enter_context(closing(Replica(tmp_path, WEBHOOK_ALLOWED_HOSTS="127.0.0.1")))
        api.await_ready()
        body = {"url": hook.url, "events": ["job.cancelled"]}
        webhook = httpx2.post(f"{api.url}/webhooks", json=body).json()["id"]
        dataset = httpx2.post(f"{api.url}/datasets", json={"name": "d", "source": "builtin:digits"}).json()
        assert httpx2.post(f"{api.url}/jobs/{dataset['job']}/cancel").status_code == 202
        wait_until(lambda: len(hook.messages) == 1)  # it is taken, and not answered
        api.close()  # kill -9
        with closing(Database(url)) as database, database.begin() as session:
            sooner = DeliveryRow.next_attempt_at - LEASE_SECONDS
            session.execute(update(DeliveryRow).values(next_attempt_at=sooner))
        api.start()
        api.await_ready()

        def delivered() -> bool:
            (row,) = httpx2.get(f"{api.url}/webhooks/{webhook}/deliveries").json()["data"]
            return row["delivered_at"] is not None

        wait_until(delivered)
        assert len(set(hook.ids)) == 1
        assert len(hook.ids) == 2
