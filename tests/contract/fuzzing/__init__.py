"""Calls that nobody thought of: schemathesis, run as a process of its own against running servers.

campaign   what is run, and what came of it
hooks      what schemathesis loads: values that the description cannot tell, and rules that JSON Schema cannot state
"""
