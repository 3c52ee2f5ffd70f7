"""The contract's files say what the code does."""

from pathlib import Path

import yaml

import schema
from schema.asyncapi import asyncapi
from schema.migrate import tables_sql
from schema.topics import TOPICS

FOLDER = Path(schema.__file__).parent


def test_the_asyncapi_file_is_the_code() -> None:
    assert yaml.safe_load((FOLDER / "asyncapi.yaml").read_text()) == asyncapi(), "run `make contract`"


def test_every_topic_and_event_stands_in_the_asyncapi_file() -> None:
    document = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text())
    assert set(document["channels"]) == {topic.stem for topic in TOPICS}
    for topic in TOPICS:
        assert document["channels"][topic.stem]["bindings"]["kafka"]["partitions"] == topic.partitions
        payload = document["components"]["messages"][topic.event.__name__]["payload"]["$ref"]
        assert payload.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_the_sql_file_is_the_code() -> None:
    assert (FOLDER / "create_intent_training_tables.sql").read_text() == tables_sql(), "run `make contract`"
