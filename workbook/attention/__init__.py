"""Attention in pieces: what the keys seen so far amount to, and how such pieces are put together."""
