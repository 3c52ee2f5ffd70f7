"""The ops API under /api/v1/model-tuning, and the console.

It reads the database and writes to it only with an outbox row beside; labels go through Kafka like everyone else's.
"""
