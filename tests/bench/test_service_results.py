"""What was measured under load and over time is within what was promised; `load.py` and `soak.py` measure it again."""

from __future__ import annotations

import json

import pytest

from mtl.settings import ROOT


def result(name: str) -> dict:
    return json.loads((ROOT / "assets" / "results" / name).read_text(encoding="utf-8"))


def test_sixty_four_clients_beside_a_run_all_got_their_answers() -> None:
    found = result("load.json")["beside_a_run"]
    assert (found["clients"], found["seconds"]) == (64, 120)
    assert found["failures"] == {}
    assert found["later_share"] <= 0.01
    assert found["training_runs"] >= 1
    assert found["training_problems"] == []
    kinds = set(found["times"])
    assert {"REST embeddings", "REST analyze", "REST similarity", "page read", "page open"} <= kinds
    assert found["requests"] == found["later"] + sum(one["n"] for one in found["times"].values())


@pytest.mark.parametrize("path", ["/api/healthz", "/api/readyz"])
def test_health_was_never_starved(path: str) -> None:
    health = result("load.json")["beside_a_run"]["health"]
    assert health["failures"] == {}
    assert health["times"][path]["n"] > 500
    assert health["times"][path]["p95_ms"] <= 200


def test_memory_stays_where_it_was_after_the_warm_up() -> None:
    found = result("soak.json")
    assert (found["requests"], found["runs"], found["abandoned"]) == (20_000, 50, 25)
    assert found["stopped_as_nobody_came_back"] >= 15, "the others ended by themselves within the grace"
    assert found["failures"] == {}
    assert found["problems"] == []
    assert found["faults_in_log"] == 0
    assert found["ratio"] <= 1.1
