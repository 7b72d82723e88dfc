"""The package prometheus_client, an extra."""

from typing import Any

from moodstream.transforms.errors import optional


def import_prometheus() -> Any:
    """The package prometheus_client.

    Raises:
        MissingExtraError: it is not installed.
    """
    return optional("prometheus_client", "prometheus-client", "metrics")
