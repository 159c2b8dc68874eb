"""Keys: one, or two while callers change from the former to the new one."""

import asyncio

import httpx
import pytest

from tests.vectordb.conftest import make_app


def status_with(app, key: str | None) -> int:
    async def call() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://vectordb") as http:
            return (await http.get("/v1/libraries", headers={} if key is None else {"X-API-KEY": key})).status_code

    return asyncio.run(call())


@pytest.mark.parametrize(
    ("keys", "let_in", "kept_out"),
    [
        ([], [None, "any"], []),
        (["new"], ["new"], [None, "", "old", "newer", "ne"]),
        (["new", "old"], ["new", "old"], [None, "", "newold", "new, old"]),
    ],
)
def test_who_is_let_in(database, snapshots, keys, let_in, kept_out):
    app = make_app(database, snapshots, api_keys=keys)
    assert [status_with(app, key) for key in let_in] == [200] * len(let_in)
    assert [status_with(app, key) for key in kept_out] == [401] * len(kept_out)


def test_a_former_key_counts_beside_a_new_one_and_not_alone(run_main):
    code, told = run_main("serve", "--data", "x", VECTORDB_PREVIOUS_API_KEY="s3cret")
    assert code == 2
    assert "VECTORDB_PREVIOUS_API_KEY needs VECTORDB_API_KEY" in told
    assert "s3cret" not in told
