"""Contexts of agents, built around the prefix cache: what goes in, what that costs, and what broke the cache.

An engine reuses the keys and values of the longest beginning that a prompt shares with an earlier one. Whatever changes
an early byte is paid for in every later step. The modules here keep that beginning still, and measure it.
"""
