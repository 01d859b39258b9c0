"""The way out to providers: an HTTP/1.1 client that knows what certainly did not arrive, and costs little.

`client` is the door that adapters are given; `pool` keeps the connections, `connection` is one of them, `requests` says
what is written and `answers` reads what comes back.
"""
