"""An artefact and a question become an answer.

No Kafka and no database here: what is loaded is a directory, what comes back is a `Classification`.
Never imports torch or transformers; a replica must stay small.
"""
