"""Backups of PostgreSQL and vectordb together, into one folder, and back out of it.

PostgreSQL is the record, vectordb a projection of it, and no moment is common to both. So vectordb is copied first and
PostgreSQL second: what was indexed in between counts as indexed in a copy whose vectors lack it. After a restore,
`manage.py reconcile` finds such documents and has them indexed again, and deletes what the record does not know.
"""
