"""The entry of the web server."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from config.database.bounds import OF_REQUESTS, bound

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()
bound(OF_REQUESTS)
# Reading them imports the views: before the server forks its workers, and not when the first request waits.
URL_PATTERNS = get_resolver().url_patterns
