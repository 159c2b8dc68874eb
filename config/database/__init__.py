"""Django's PostgreSQL backend with a process's connections shared among its threads.

Django keeps a connection for each thread. A web server whose threads mostly wait for a model would keep as many
connections as threads, of which PostgreSQL bears a hundred; and to open one for each request takes milliseconds. Here
a thread borrows one for as long as it works. Django has such a pool of its own for psycopg 3 alone.
"""
