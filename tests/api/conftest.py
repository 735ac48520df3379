"""The REST API over a tiny model, as a client of it sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from mtl.api.app import build_api
from mtl.service.service import Service
from mtl.settings import Settings

MakeClient = Callable[..., TestClient]


@pytest.fixture
def make_client(predictor) -> Iterator[MakeClient]:
    """Builds clients: make_client(max_texts=3, ...); `client.service` is what stands behind one."""
    opened: list[TestClient] = []

    def make(**settings: object) -> TestClient:
        service = Service(Settings(**settings), base=predictor)
        client = TestClient(build_api(service), raise_server_exceptions=False)
        client.service = service
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.close()


@pytest.fixture
def client(make_client: MakeClient) -> TestClient:
    return make_client()
