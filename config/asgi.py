"""The entry of an asynchronous web server."""

import os

from django.core.asgi import get_asgi_application

from config.database.bounds import OF_REQUESTS, bound

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_asgi_application()
bound(OF_REQUESTS)
