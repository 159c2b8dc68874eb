"""What `ENGINE` names: the wrapper that Django makes for each thread."""

from __future__ import annotations

import threading
import weakref
from typing import Any

from django.db import OperationalError
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base, creation
from psycopg2 import Error
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from config.database.pool import ConnectionPool, NoneFree

DEFAULT_SIZE = 16
DEFAULT_WAIT_S = 5.0
_pools: dict[str, ConnectionPool[Any]] = {}
_making = threading.Lock()


class DatabaseCreation(creation.DatabaseCreation):  # type: ignore[misc]
    """Makes and drops test databases, to which no idle connection may be left open."""

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:
        close_idle_connections()
        super()._destroy_test_db(test_database_name, verbosity)  # type: ignore[misc]  # not in the stubs


class DatabaseWrapper(base.DatabaseWrapper):
    """Borrows its connection, and gives it back where Django would close it.

    `OPTIONS` takes `pool_size` (connections of a process at most) and `pool_wait_s` (how long to wait for a free one).
    """

    creation_class = DatabaseCreation

    def get_connection_params(self) -> dict[str, Any]:
        parameters: dict[str, Any] = super().get_connection_params()
        self._pool_size = int(parameters.pop("pool_size", DEFAULT_SIZE))
        self._pool_wait_s = float(parameters.pop("pool_wait_s", DEFAULT_WAIT_S))
        return parameters

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if self.alias == NO_DB_ALIAS:
            return super().get_new_connection(conn_params)
        self._pool = self._pool_for(conn_params)
        try:
            borrowed = self._pool.borrow(lambda: base.DatabaseWrapper.get_new_connection(self, conn_params))
        except NoneFree as error:
            raise OperationalError(str(error)) from error
        # A thread may end with one in hand, and without a word: what it had is closed with its wrapper.
        self._place = weakref.finalize(borrowed, self._pool.forget)
        self._place.atexit = False  # type: ignore[misc]  # the checker takes the property for a slot
        self.isolation_level = base.IsolationLevel.READ_COMMITTED  # type: ignore[attr-defined]  # not in the stubs
        return borrowed

    def _pool_for(self, conn_params: dict[str, Any]) -> ConnectionPool[Any]:
        key = repr(sorted((name, str(value)) for name, value in conn_params.items()))
        with _making:
            if key not in _pools:
                _pools[key] = ConnectionPool(self._pool_size, wait_s=self._pool_wait_s, is_alive=_is_alive)
            return _pools[key]

    def _close(self) -> None:
        pool: ConnectionPool[Any] | None = getattr(self, "_pool", None)
        if self.connection is None or pool is None:
            super()._close()  # type: ignore[misc]  # not in the stubs
            return
        lent, self._pool = self.connection, None  # type: ignore[assignment]
        self._place.detach()
        if lent.closed == 0 and lent.info.transaction_status == TRANSACTION_STATUS_IDLE:
            pool.give_back(lent)
            return
        try:
            lent.close()
        finally:
            pool.forget()


def close_idle_connections() -> None:
    """Close what no thread of this process has in use."""
    for pool in list(_pools.values()):
        pool.close_idle()


def _is_alive(connection: Any) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        if not connection.autocommit:
            connection.rollback()
    except Error:
        return False
    return True
