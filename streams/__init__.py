"""Faust agents: events become rows and live counts.

Offsets follow the database here, which Faust does not do by itself (see `streams.app`).
No agent may raise for a bad record, and nothing here decides about training or models.
"""
