"""`make run`: everything that the environment does not name, brought along and looked after.

Import directions: `__main__ > runner > services > postgres | valkey > process > guard | errors`. Nothing here imports
Django or an app: the runner must start before their settings exist.
"""
