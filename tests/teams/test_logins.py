"""A person may mistype; a program may not guess."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.utils import timezone

from teams import logins
from teams.models import LoginBucket, User
from teams.tasks import forget_expired_logins

EMAIL, PASSWORD = "ann@example.com", "correct horse battery"
LOGIN = "/admin/login/?next=/admin/"
FAST = {"PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"]}


@pytest.fixture
def user(db: None, settings: pytest.FixtureRequest) -> User:
    settings.PASSWORD_HASHERS = FAST["PASSWORD_HASHERS"]
    return User.objects.create_superuser(EMAIL, PASSWORD)


def attempt(password: str, email: str = EMAIL, address: str = "203.0.113.9") -> int:
    """302: in; 200: the form again; 429: later."""
    return Client().post(LOGIN, {"username": email, "password": password}, REMOTE_ADDR=address).status_code


def test_ten_wrong_passwords_are_too_many(user: User):
    assert [attempt("wrong") for _ in range(12)] == [200] * 10 + [429] * 2


def test_the_right_password_does_not_help_who_tried_too_many(user: User):
    for _ in range(10):
        attempt("wrong")
    assert attempt(PASSWORD) == 429


def test_who_is_refused_is_told_for_how_long(user: User):
    for _ in range(10):
        attempt("wrong")
    answer = Client().post(LOGIN, {"username": EMAIL, "password": "x"}, REMOTE_ADDR="203.0.113.9")
    assert answer.status_code == 429
    assert 1 <= int(answer["Retry-After"]) <= 60
    assert "Wait 1 minute," in answer.content.decode()


def test_other_addresses_and_other_accounts_are_let_pass(user: User):
    for _ in range(11):
        attempt("wrong")
    assert attempt(PASSWORD, address="203.0.113.10") == 302
    assert attempt("wrong", email="bob@example.com") == 200


def test_an_address_that_tries_many_accounts_is_refused(user: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logins, "OF_ADDRESS", logins.Limit(attempts=12, window_s=600.0))
    statuses = [attempt("wrong", email=f"user{n}@example.com") for n in range(logins.OF_ADDRESS.attempts + 1)]
    assert Counter(statuses) == {200: logins.OF_ADDRESS.attempts, 429: 1}
    assert attempt(PASSWORD, address="203.0.113.10") == 302


def test_an_address_of_the_same_ipv6_network_is_no_other(user: User):
    statuses = [attempt("wrong", address=f"2001:db8::{n:x}") for n in range(1, 12)]
    assert statuses == [200] * 10 + [429]
    assert attempt("wrong", address="2001:db8:1::1") == 200


def test_another_spelling_of_the_account_is_no_other(user: User):
    statuses = [attempt("wrong", email=email) for email in [EMAIL, EMAIL.upper(), f" {EMAIL} "] * 4]
    assert statuses == [200] * 10 + [429] * 2


def test_who_gets_in_begins_anew(user: User):
    assert [attempt("wrong") for _ in range(9)] == [200] * 9
    assert attempt(PASSWORD) == 302
    assert [attempt("wrong") for _ in range(10)] == [200] * 10


def test_what_is_kept_names_nobody(user: User):
    attempt("wrong")
    assert LoginBucket.objects.exists()
    assert EMAIL not in str(list(LoginBucket.objects.values()))


def test_what_counts_no_longer_is_deleted(user: User):
    attempt("wrong")
    counted = LoginBucket.objects.count()
    past = timezone.now() - timedelta(seconds=1)
    LoginBucket.objects.create(subject="old", empty_at=past)
    attempt(PASSWORD)
    Session.objects.create(session_key="old", session_data="", expire_date=past)
    forget_expired_logins.run()
    assert LoginBucket.objects.count() < counted + 1
    assert not LoginBucket.objects.filter(subject="old").exists()
    assert Session.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_attempts_at_once_are_counted_exactly(settings: pytest.FixtureRequest):
    settings.PASSWORD_HASHERS = FAST["PASSWORD_HASHERS"]
    User.objects.create_superuser(EMAIL, PASSWORD)

    def try_once(_: int) -> int:
        try:
            return attempt("wrong")
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(try_once, range(30)))
    assert Counter(statuses) == {200: 10, 429: 20}
