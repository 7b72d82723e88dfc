"""The package prometheus_client, an extra."""

from typing import Any

from moodstream.transforms.errors import MissingExtraError


def import_prometheus() -> Any:
    """The package prometheus_client.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import prometheus_client
    except ImportError as error:
        raise MissingExtraError("prometheus-client", "metrics") from error
    return prometheus_client
