"""Labelled rows become a versioned artefact.

No Kafka and no database here: rows come in a file, an artefact and its metrics go out.
The candidate is judged by the predictor that serves it, never by the training code's own forward pass.
"""
