"""The page's files: what is there is served, what is not there is a problem, nothing leads out."""

import pytest
from fastapi.testclient import TestClient


def test_the_page_comes_with_a_tag_and_packed(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-encoding"] == "gzip"
    again = client.get("/index.html", headers={"If-None-Match": page.headers["etag"]})
    assert again.status_code == 304
    assert not again.content


@pytest.mark.parametrize(
    "path",
    ["/..%2fconfig.py", "/%2e%2e/config.py", "/..%2f..%2fMakefile", "//etc/passwd", "/nothing", "/a%00b"],
)
def test_nothing_leads_out_of_it(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["what_to_do"]


def test_only_reading(client: TestClient) -> None:
    assert client.post("/index.html").status_code == 405
