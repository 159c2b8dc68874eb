"""Conversations in the admin.

threads    what was asked and answered
erasures   conversations that are erased for good
"""

from query.admin.erasures import ErasureAdmin
from query.admin.threads import ThreadAdmin

__all__ = ["ErasureAdmin", "ThreadAdmin"]
