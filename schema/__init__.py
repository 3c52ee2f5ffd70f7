"""The contract: what crosses a process boundary.

Events, topics, tables, settings, masking and the small pieces that every process needs to speak them.
This package imports nothing of ours, decides nothing about training or answering, and never needs torch.
"""
