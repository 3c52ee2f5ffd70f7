"""Confluent-kafka loops with effects outside the log: the trigger, the trainer, the relay and the replicas.

Each loop commits an offset only after its effect is in the database (or in the serving model).
Training itself runs in a child process: nothing here imports torch.
"""
