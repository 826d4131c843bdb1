from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_lib.strict_yaml import Document, load


def parse(tmp_path: Path, content: str | bytes) -> Document:
    path = tmp_path / "some.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load(path, "some.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("ON", "ON"),
        ("yes", "yes"),
        ("True", "True"),
        ("01234", "01234"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        (".nan", ".nan"),
        (".inf", ".inf"),
        ("2024-02-30", "2024-02-30"),
        ("١٢", "١٢"),
        ("12", 12),
        ("-3", -3),
        ("1.50", 1.5),
        ("1e5", 1e5),
        ("true", True),
        ("null", None),
        ("", None),
        ("'12'", "12"),
        ("NA", "NA"),
        ('"\\t"', "\t"),
    ],
)
def test_scalars_mean_what_people_expect(tmp_path: Path, text: str, value: object) -> None:
    document = parse(tmp_path, f"key: {text}\n")
    assert document.data == {"key": value}
    assert type(document.data["key"]) is type(value)
    assert not document.faults


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\na: 2\n", 2, "the key twice"),
        ("a: !!binary aGk=\n", 1, "tag"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "tag"),
        ("a: &x [1]\n", 1, "anchor"),
        ("a: 1\nb: *x\n", 2, "alias"),
        ("a: 1e400\n", 1, "finite"),
        ("a: 99999999999999999999\n", 1, "2^53"),
        ('a: "x\\u202Ey"\n', 1, "U+202E"),
        ("password: hunter\n", 1, "secret"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: b: c\n", 1, "mapping values"),
        ("a:\n\t- 1\n", 2, "token"),
        ("a: " + "x" * 30_000 + "\n", 1, "characters"),
        ("{a: 1}: 2\n", 1, "nested key"),
    ],
)
def test_faults_name_line_and_cause(tmp_path: Path, text: str, line: int, part: str) -> None:
    faults = parse(tmp_path, text).faults
    assert faults
    assert faults[0].line == line
    assert part in str(faults[0])


def test_all_faults_of_a_file_come_at_once(tmp_path: Path) -> None:
    assert len(parse(tmp_path, "a: !!set {}\nb: *c\nd: 1\nd: 2\ntoken: abc\n").faults) == 4


def test_an_alias_bomb_costs_nothing(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    assert parse(tmp_path, "\n".join(lines)).faults


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_named(tmp_path: Path, encoding: str) -> None:
    faults = parse(tmp_path, "título: ñ\n".encode(encoding)).faults
    assert "UTF-8" in str(faults[0])


def test_byte_order_mark_windows_line_ends_and_missing_last_line_end(tmp_path: Path) -> None:
    assert parse(tmp_path, b"\xef\xbb\xbfa: 1\r\nb: x").data == {"a": 1, "b": "x"}


def test_a_secret_by_reference_is_fine(tmp_path: Path) -> None:
    assert not parse(tmp_path, "api_key: secret://crm\n").faults


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=20)
)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}x", fullmatch=True), scalars, max_size=5))
def test_what_json_writes_comes_back_equal(tmp_path_factory: object, data: dict) -> None:
    import json
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        document = parse(Path(folder), json.dumps(data, ensure_ascii=False))
    assert document.data == (data or {})
