#!/usr/bin/env python
"""Django's command line for the service."""

import os
import sys

INTERRUPTED = 130  # as shells count it

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
