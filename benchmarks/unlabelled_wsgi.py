"""The web application without categorisation's ear: nobody is told of a new thread, and nothing labels it."""

from __future__ import annotations

from config.wsgi import application as application  # what gunicorn is told to serve; it loads the rooms

# isort: split
from categorisation.receivers import nudge_for_new_thread
from query.signals import thread_started

thread_started.disconnect(nudge_for_new_thread)
