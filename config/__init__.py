"""Wiring: settings, urls, the Celery application, and what the web framework asks a project for."""

from config.celery import app

__all__ = ["app"]
