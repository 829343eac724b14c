"""Boxes for code that nobody trusts: each is a fork of one warm process, closed in by every layer that Linux offers.

`server.ForkServer` makes them and `server.Box` is one of them, seen from this machine. What runs inside is an entry
module of the caller's choice; this package knows nothing of notebooks or grading.
"""
