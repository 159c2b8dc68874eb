"""New secrets in the place of old ones; docs/operations.md tells what is restarted then, in which order.

A former secret may stand beside its successor for as long as some processes still have it: signatures and keys are
then accepted by both. What SECRET_KEY signed goes on for years (links in mails), so all its former selves stand beside
it. Passwords of PostgreSQL and RabbitMQ have no such time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy.container.secrets import make_secrets, write_over


@dataclass(frozen=True, slots=True)
class Kind:
    """Where a secret stands, where what is made of it does, and where its former self is accepted from: the last one,
    or every one, separated by commas."""

    path: str
    made_of_it: tuple[str, ...] = ()
    former: str | None = None
    keeps_every_former: bool = False


KINDS = {
    "secret-key": Kind("service/SECRET_KEY", former="service/SECRET_KEY_FALLBACKS", keeps_every_former=True),
    "vectordb-key": Kind(
        "service/VECTORDB_API_KEY", ("vectordb/VECTORDB_API_KEY",), former="vectordb/VECTORDB_PREVIOUS_API_KEY"
    ),
    "database-password": Kind("service/database-password", ("service/DATABASE_URL", "postgres/password")),
    "broker-password": Kind(
        "service/broker-password", ("service/CELERY_BROKER_URL", "rabbitmq/parley.conf", "flower/CELERY_BROKER_URL")
    ),
    "metrics-token": Kind("service/METRICS_TOKEN", ("vectordb/VECTORDB_METRICS_TOKEN",)),
}


def rotate(folder: Path, kind: Kind) -> None:
    """Make the secret anew, and what is made of it. Killed at any step, it is the old one or the new one everywhere
    when `make_secrets` has run again. Raises OSError."""
    if kind.former is not None:
        write_over(folder / kind.former, _list_former(folder, kind, folder / kind.former))
    for name in kind.made_of_it:
        (folder / name).unlink(missing_ok=True)
    (folder / kind.path).unlink()
    make_secrets(folder)


def _list_former(folder: Path, kind: Kind, stands_in: Path) -> str:
    """What is to be accepted beside the secret that comes, the latest first."""
    latest = (folder / kind.path).read_text()
    if not kind.keeps_every_former or not stands_in.exists():
        return latest
    return ",".join(dict.fromkeys([latest, *stands_in.read_text().split(",")]))


def forget_former(folder: Path, kind: Kind) -> None:
    """Accept no former secret any longer. Raises OSError."""
    if kind.former is not None:
        (folder / kind.former).unlink(missing_ok=True)
