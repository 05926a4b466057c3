"""The files: the browser component and the OpenAPI description."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import progresskit

from .base import ShimFixtures

if TYPE_CHECKING:
    import httpx


WEB = Path(progresskit.__file__).with_name("web")


class FilesContract(ShimFixtures):
    """How the files are served."""

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("progresskit.js", "text/javascript; charset=utf-8"),
            ("progress-group.js", "text/javascript; charset=utf-8"),
            ("openapi.json", "application/json"),
        ],
    )
    def test_the_files_are_served_as_they_are(self, client: httpx.Client, name: str, kind: str) -> None:
        response = client.get(name, headers={"Accept-Encoding": "identity"})
        assert response.status_code == 200
        assert response.headers["Content-Type"] == kind
        assert response.content == (WEB / name).read_bytes()
        headers = {"Accept-Encoding": "identity", "If-None-Match": response.headers["ETag"]}
        assert client.get(name, headers=headers).status_code == 304

    def test_the_component_is_compressed_for_who_takes_that(self, client: httpx.Client) -> None:
        with client.stream("GET", "progresskit.js", headers={"Accept-Encoding": "gzip"}) as response:
            raw = b"".join(response.iter_raw())
        assert response.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in response.headers["Vary"]
        assert gzip.decompress(raw) == (WEB / "progresskit.js").read_bytes()
        plain = client.get("progresskit.js", headers={"Accept-Encoding": "gzip;q=0"})
        assert "Content-Encoding" not in plain.headers
        assert plain.content == (WEB / "progresskit.js").read_bytes()
