"""The API against its own description: whatever it says it takes is answered as it says, the rest refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from moodstream.serving.config import ServeConfig
from moodstream.serving.search.build import update
from moodstream.serving.service import build
from tests.serving.conftest import HOSTILE, listening

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
EXAMPLES = 8  # of each operation and mode
ENDLESS = r"^/v1/live$"  # a stream that does not end


@pytest.fixture(scope="module")
def described(served_lake: Path, media_root: Path) -> Iterator[Any]:
    """The description of a service that really listens."""
    update(served_lake)
    config = SchemathesisConfig.from_dict(
        {
            "checks": {
                "negative_data_rejection": {"expected-statuses": ["400", "404", "406", "413", "414", "415"]}
            }
        }
    )
    with listening(build(ServeConfig(served_lake, media_roots=(media_root,)))) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json", config=config)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
def test_it_does_what_it_says(described: Any, mode: GenerationMode) -> None:
    tried = 0
    for found in described.exclude(path_regex=ENDLESS).get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        @given(operation.as_strategy(generation_mode=mode))
        def asked(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS)

        try:
            asked()
        except Unsatisfiable:  # nothing about it can be wrong
            continue
        tried += 1
    assert tried >= 10


@pytest.mark.parametrize("path", ["media", "curve", "episodes", "summary", "alerts", "analysis", "sound"])
def test_answers_about_what_is_there_are_as_described(described: Any, path: str) -> None:
    for media in ("song.wav", "calls/call.wav", HOSTILE[0]):
        case = described[f"/v1/{path}"]["GET"].Case(query={"media": media})
        answer = case.call()
        assert answer.status_code == 200 or path == "sound"
        case.validate_response(answer, checks=CHECKS[:4])
