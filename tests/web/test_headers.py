"""Request headers: what they mean, and that no text in them breaks anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit.web.headers import accepts_gzip, none_match, prefers_html, same_origin, wait_seconds

text = st.text(st.characters(max_codepoint=0xFF)) | st.from_regex(r"[\"W/*,;=q.0-9 a-z\[\]:]*")


@pytest.mark.parametrize(
    ("value", "matches"),
    [
        ('"1.1.2"', True),
        ('W/"1.1.2"', True),
        (' "a" ,\tW/"1.1.2" ', True),
        ('"a, b","1.1.2"', True),
        ("*", True),
        (" * ", True),
        ('"1.1.20"', False),
        ('"1.1.2s"', False),
        ("1.1.2", False),
        ('w/"1.1.2"', False),
        ('"a"1.1.2"', False),
        ("", False),
    ],
)
def test_if_none_match_is_compared_weakly_and_whole(value: str, matches: bool) -> None:
    assert none_match({"if-none-match": value}, '"1.1.2"') is matches


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("wait=20", 20),
        ("Wait = 20", 20),
        ('respond-async, wait="7"; foo', 7),
        ("wait=1, wait=2", 1),
        ("await=3", 0),
        ("wait=-1", 0),
        ("wait=1.5", 0),
        ("wait=9999999999", 0),
        ("wait=²", 0),
        ("wait", 0),
    ],
)
def test_the_seconds_of_a_preferred_wait(value: str, seconds: int) -> None:
    assert wait_seconds({"prefer": value}) == seconds


@pytest.mark.parametrize(
    ("value", "html"),
    [
        ("text/html", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("TEXT/HTML;level=1", True),
        ("text/*, application/json;q=0.9", True),
        ("application/json, text/html;q=0.9", False),
        ("text/html, application/json", False),
        ("text/html;q=0, */*", False),
        ("*/*", False),
        ("application/*", False),
        ("text/event-stream", False),
        ("", False),
    ],
)
def test_html_is_for_who_wants_it_more_than_json(value: str, html: bool) -> None:
    assert prefers_html({"accept": value}) is html


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        ("gzip", True),
        ("br, GZIP ; q=0.5", True),
        ("gzip;q=0, *", False),
        ("*", True),
        ("*;q=0, gzip", True),
        ("gzip;q=0", False),
        ("br, gzip ; Q=0.000, identity", False),
        ("*;q=0", False),
        ("br, deflate", False),
        ("identity;x=gzip", False),
        ("", False),
    ],
)
def test_gzip_is_for_who_takes_it(value: str, accepted: bool) -> None:
    assert accepts_gzip({"accept-encoding": value}) is accepted
    assert not accepts_gzip({})


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({}, False),
        ({"host": "a.example"}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site", "x-progresskit": "1"}, True),
        ({"sec-fetch-site": "cross-site", "origin": "https://a.example", "host": "a.example"}, False),
        ({"x-progresskit": ""}, True),
        ({"origin": "https://a.example", "host": "a.example"}, True),
        ({"origin": "https://A.example", "host": "a.EXAMPLE"}, True),
        ({"origin": "https://a.example", "host": "a.example:443"}, True),
        ({"origin": "http://a.example:80", "host": "a.example"}, True),
        ({"origin": "http://a.example:8000", "host": "a.example:8000"}, True),
        ({"origin": "http://[::1]:8000", "host": "[::1]:8000"}, True),
        ({"origin": "https://a.example", "host": "a.example:80"}, False),
        ({"origin": "http://a.example:8001", "host": "a.example:8000"}, False),
        ({"origin": "https://a.example.evil", "host": "a.example"}, False),
        ({"origin": "https://evil", "host": "a.example"}, False),
        ({"origin": "null", "host": "a.example"}, False),
        ({"origin": "null", "host": "null"}, False),
        ({"origin": "", "host": ""}, False),
        ({"origin": "https://", "host": ""}, False),
        ({"origin": "http://[", "host": "["}, False),
    ],
)
def test_a_request_that_changes_something_has_to_be_of_the_same_origin(headers: dict[str, str], same: bool) -> None:
    assert same_origin(headers) is same


@given(value=text, host=text)
def test_no_header_breaks_anything(value: str, host: str) -> None:
    none_match({"if-none-match": value}, '"1.1.2"')
    assert 0 <= wait_seconds({"prefer": value}) < 10**9
    prefers_html({"accept": value})
    accepts_gzip({"accept-encoding": value})
    same_origin({"sec-fetch-site": value})
    same_origin({"origin": value, "host": host})
