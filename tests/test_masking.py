"""What keeps the application's secrets to ourselves: credentials by all their forms, and messages without them."""

from __future__ import annotations

import subprocess
import sys
from base64 import b64encode
from typing import Any

import ai_lib_python  # noqa: F401 - where a call fails, the runtime is imported.
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from opentelemetry_instrumentation_ailib.masking import (
    _MIN_PIECE,
    _without_pieces,
    beginning,
    credentials,
    forms,
    redacted,
    safe_message,
)

# --- what is secret ---


@pytest.mark.parametrize(
    ("base_url", "said"),
    [
        ("http://user:[s3cret]@provider.example/v1", ("user:[s3cret]", "[s3cret]")),
        ("http://user:pa[ss@provider.example/v1", ("user:pa[ss", "pa[ss")),
        ("http://user:p]ss@provider.example/v1", ("user:p]ss", "p]ss")),
        ("http://m%65:s3%2Fcr%40t@provider.example?x=1", ("me:s3/cr@t", "s3/cr@t")),
        ("http://user:one:two@provider.example#part", ("user:one:two", "one:two")),
        ("http://user:one@two@provider.example", ("user:one@two", "one@two")),
        ("http://:password@provider.example", (":password", "password")),
        ("http://tok3nABCDEF@provider.example/v1", ("tok3nABCDEF:", "tok3nABCDEF")),
        ("http://tok3n%2FABCDEF@provider.example/v1", ("tok3n/ABCDEF:", "tok3n/ABCDEF")),
        ("http://user@provider.example/v1", ()),
        ("http://provider.example/users/me:secret@work/v1", ()),
        ("http://provider.example?user=me:secret@work", ()),
        ("http://provider.example#me:secret@work", ()),
        ("http://provider.example/v1", ()),
        ("", ()),
    ],
)
def test_user_and_password_of_the_base_url_are_secret_together_and_the_password_alone(
    base_url: str, said: tuple[str, ...]
) -> None:
    """Together they are what ``Authorization: Basic`` encodes. A short user name is nothing but a name."""
    assert credentials(base_url, None) == credentials(base_url, "") == said
    assert credentials(base_url, "sk-1") == ("sk-1", *said)


@pytest.mark.parametrize(
    ("secret", "written"),
    [
        ("user:[s3cret]", b64encode(b"user:[s3cret]").decode().rstrip("=")),
        ("tok3nABCDEF:", "dG9rM25BQkNERUY6"),
        ("sk/pro+j é", "sk%2fpro%2bj%20%c3%a9"),
        ("sk/pro+j é", "sk/pro%2bj%20%c3%a9"),
        ("sk/pro+j é", "sk%2fpro%2bj+%c3%a9"),
        ("sk/pro+j é", "sk%2Fpro%2Bj%20%C3%A9"),
        # What is no escape of a quoted form's keeps its case.
        ("SK/%2F", "SK%2f%252F"),
        # PHP's JSON and .NET's, and either in JSON.
        ("Kx7/Aa+9", r"Kx7\/Aa+9"),
        ("Kx7/Aa+9", r"Kx7/Aa\u002B9"),
        ("Kx7/Aa+9", r"Kx7\/Aa\u002B9"),
        ("Kx7/Aa+9", r"Kx7\\/Aa+9"),
        ("Kx7/Aa+9", r"Kx7/Aa\\u002B9"),
    ],
)
def test_a_secret_is_known_as_it_may_be_written(secret: str, written: str) -> None:
    assert written in forms(secret)


@pytest.mark.parametrize("times", [1, 2, 300])
@pytest.mark.parametrize("secret", ["me:s3/cr@t", "s3", "k" * 300], ids=["usual", "short", "long"])
def test_the_beginning_of_a_text_is_that_of_the_text_without_secrets(secret: str, times: int) -> None:
    """Wherever in it a secret begins, none is cut in two."""
    known = forms(secret, "cr@t")
    for before in range(140):
        text = "x" * before + f"{secret}, " * times + "y" * 9_000
        assert beginning(text, known, 100) == redacted(text, known)[:100]


def test_what_is_behind_the_beginning_of_a_text_is_not_looked_at() -> None:
    class Counted(str):
        __slots__ = ()
        looked_at = 0

        def __getitem__(self, key: Any) -> str:
            found = super().__getitem__(key)
            Counted.looked_at += len(found)
            return found

    known = forms("me:s3/cr@t")
    assert beginning(Counted("me:s3/cr@t, " * 1_000_000), known, 100) == ("***REDACTED***, " * 7)[:100]
    assert Counted.looked_at < 2_000


# --- messages ---

API_KEY = "sk-abcdefghijklmnopqrstuvwxyz0123456789"


@pytest.mark.parametrize(
    ("message", "secret", "expected"),
    [
        ("Connection failed", None, "Connection failed"),
        ("", None, None),
        (f"bad key {API_KEY}!", None, "bad key sk-***REDACTED***!"),
        ("Bearer abc.def refused", None, "Bearer ***REDACTED*** refused"),
        ("no such url /v1?api_key=abc", None, "no such url /v1?api_key=***REDACTED***"),
        ("header Authorization: Basic", None, "header Authorization: ***REDACTED***"),
        ("you sent hunter2, twice hunter2", "hunter2", "you sent ***REDACTED***, twice ***REDACTED***"),
        ("GET /v1?key=s3%2Fcr%2Bt%20%3D", "s3/cr+t =", "GET /v1?key=***REDACTED***"),
        ("GET /v1?key=s3/cr%2Bt%20%3D", "s3/cr+t =", "GET /v1?key=***REDACTED***"),
        ("GET /v1?key=s3%2Fcr%2Bt+%3D", "s3/cr+t =", "GET /v1?key=***REDACTED***"),
        ("you sent hunter2", "", "you sent hunter2"),
        ("you sent hunter2", None, "you sent hunter2"),
        ("x" * 513, None, "x" * 512),
        ("é\ud800", None, "é?"),
        # Cut only when nothing in it can be secret any more.
        ("x" * 500 + "hunter2-hunter2-hunter2", "hunter2-hunter2-hunter2", "x" * 500 + "***REDACTED*"),
        ("x" * 500 + " " + API_KEY, None, "x" * 500 + " sk-***REDAC"),
        ("x" * 2040 + API_KEY, None, "x" * 512),
    ],
)
def test_a_message_is_masked_and_bounded(message: str, secret: str | None, expected: str | None) -> None:
    assert safe_message(ValueError(message), {secret} if secret else ()) == expected


SECRETS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/=", min_size=16, max_size=64)


@given(st.text(max_size=3000), SECRETS, st.text(max_size=600))
def test_no_message_quotes_the_credential(before: str, secret: str, after: str) -> None:
    message = safe_message(ValueError(f"{before}{secret}{after}"), {secret})
    assert message is not None
    assert secret not in message
    assert len(message) <= 512
    message.encode("utf-8")


@pytest.mark.parametrize(
    "first", ["", "import ai_lib_python.telemetry.logger as theirs"], ids=["unimported", "imported"]
)
def test_masking_imports_nothing_of_the_runtimes_telemetry(first: str) -> None:
    script = f"""
import sys
import ai_lib_python
{first}
before = set(sys.modules)
from opentelemetry_instrumentation_ailib.masking import safe_message
assert safe_message(ValueError("{API_KEY}")) == "sk-***REDACTED***"
print(sorted(name for name in set(sys.modules) - before if "ai_lib_python" in name or "_masker" in name))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# --- abbreviations ---

KEY = "sk/Wb4+rX8nQ1vT6yM3zL9kD~5jF2_hC7"
DOTTED = "eyJhbGciOi.eyJzdWIiOi..dozjgNryP4"
REDACTED = "***REDACTED***"
ELLIPSES = ["...", "....", ".....", "…", " ... ", " … ", "[...]", " [...] ", "[…]"]
each_ellipsis = pytest.mark.parametrize("ellipsis", ELLIPSES)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "input_value='You sent sk/Wb4+rX8nQ1...L9kD~5jF2_hC7!'",
            "input_value='You sent ***REDACTED***...***REDACTED***!'",
        ),
        ("sk/W...F2_hC7 or so", "***REDACTED***...***REDACTED*** or so"),
        ("it took sk/ ... and so on", "it took sk/ ... and so on"),
        ("sk/Wb4+...hC7, sk/W...2_hC7", "***REDACTED***...hC7, ***REDACTED***...***REDACTED***"),
        ("well...", "well..."),
        ("...", "..."),
        ("", None),
    ],
)
def test_pieces_of_a_credential_beside_an_ellipsis_are_taken_out(message: str, shown: str | None) -> None:
    """Pydantic abbreviates what it quotes."""
    assert safe_message(ValueError(message), [KEY]) == shown


@each_ellipsis
@pytest.mark.parametrize(
    ("secret", "before", "after"),
    [
        (KEY, "sk/Wb4+rX8nQ1", "L9kD~5jF2_hC7"),
        (KEY, "sk/W", "_hC7"),
        (DOTTED, "eyJhbGciOi", "dozjgNryP4"),
        (DOTTED, "eyJhbGciOi.", ".dozjgNryP4"),
        (DOTTED, "eyJhbGciOi.eyJzdWIiOi..", "..dozjgNryP4"),
    ],
)
def test_pieces_are_found_beside_any_ellipsis(secret: str, before: str, after: str, ellipsis: str) -> None:
    """Dots at the end of a piece make the ellipsis longer, and no piece harder to find."""
    shown = _without_pieces(f"key {before}{ellipsis}{after} or so", forms(secret))
    assert shown.replace(".", "") == f"key {REDACTED}{ellipsis}{REDACTED} or so".replace(".", "")


PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=20, max_size=60)


@given(PRINTABLE, st.data(), st.sampled_from(ELLIPSES), st.sampled_from(["", "key: ", "'"]))
def test_no_piece_of_a_credential_stays_beside_an_ellipsis(
    credential: str, data: st.DataObject, ellipsis: str, beside: str
) -> None:
    # The first would be an ellipsis itself, the second is what pieces are replaced by.
    assume("..." not in credential and "*" not in credential)
    sizes = st.integers(_MIN_PIECE, len(credential) // 2)
    head, tail = credential[: data.draw(sizes)], credential[-data.draw(sizes) :]
    shown = _without_pieces(f"{beside}{head}{ellipsis}{tail}{beside}", forms(credential))
    dots = ellipsis.strip(" []")
    left, right = shown[: shown.index(dots)].rstrip(" .["), shown[shown.rindex(dots) + len(dots) :].lstrip(" .]")
    pieces = range(_MIN_PIECE, len(credential))
    assert [credential[:size] for size in pieces if left.endswith(credential[:size])] == []
    assert [credential[-size:] for size in pieces if right.startswith(credential[-size:])] == []
