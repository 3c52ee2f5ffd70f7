"""Jars from Maven Central, resolved by jgo in pure Python and kept in its cache."""

from __future__ import annotations

from pathlib import Path

import jgo

from schema.errors import ConfigError


def download(coordinate: str) -> list[Path]:
    """The jar of `coordinate` and all it needs; from the cache if they are there.

    Raises:
        ConfigError: they cannot be had.
    """
    try:
        return [Path(str(jar)) for jar in jgo.build(coordinate).all_jars]
    except (OSError, RuntimeError, ValueError) as error:  # requests' errors are OSErrors
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"{coordinate} cannot be downloaded ({first[:200]}): try again when Maven Central can be reached,"
            " or set INTENTLOOP_KAFKA and INTENTLOOP_DATABASE_URL to servers of yours"
        ) from None
