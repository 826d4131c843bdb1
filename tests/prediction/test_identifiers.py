"""Columns that name a person are refused, ordinary features are not."""

from __future__ import annotations

import uuid

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_lib.prediction.identifiers import (
    IdentifierRefused,
    check_identifiers,
    refuse_identifiers,
)
from insight_lib.schema import Tag

N = 200


def ordinary(seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "days_since_last_order": rng.integers(0, 90, N).astype(float),
            "revenue_amount": np.round(rng.exponential(200, N), 2),
            "tenure_days": rng.integers(10_000_000, 99_999_999, N).astype(float),
            "age_band": rng.choice(["18-24", "25-34", "35-44"], N),
            "top_category": rng.choice(["GROCERY", "DRUG GM", None], N),
            "n_email_recent": rng.poisson(2, N).astype(float),
            "is_mobile": rng.integers(0, 2, N).astype(float),
        }
    )


def iban(number):
    """A German IBAN with the right check digits."""
    account = f"{number:018d}"
    check = 98 - int(account + "131400") % 97  # D is 13, E is 14
    return f"DE{check:02d}{account}"


def card(number):
    body = f"4{number:014d}"
    digits = [int(c) for c in reversed(body)]
    total = sum(digits[1::2]) + sum(d * 2 - 9 if d > 4 else d * 2 for d in digits[::2])
    return body + str(-total % 10)


PLANTED = {
    "e-mail": lambda i: f"jo{i}@mail.example.org",
    "phone": lambda i: f"+49 30 {1_000_000 + i}",
    "IBAN": iban,
    "card number": card,
    "UUID": lambda i: str(uuid.UUID(int=i + 1)),
    "IP address": lambda i: f"10.0.{i // 250}.{i % 250}",
    "nearly unique": lambda i: (
        f"Zoe {'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10 % 10]}{'uvwx'[i // 100]}"
    ),
}


@pytest.mark.row("C4.6")
@pytest.mark.parametrize("kind", sorted(PLANTED))
def test_a_planted_column_is_refused_by_its_values(kind):
    frame = ordinary().assign(preference=[PLANTED[kind](i) for i in range(N)])
    (refused,) = check_identifiers(frame)
    assert (refused.column, refused.kind) == ("preference", kind)
    with pytest.raises(IdentifierRefused, match="preference") as caught:
        refuse_identifiers(frame)
    assert not any(value in str(caught.value) for value in frame["preference"])


@pytest.mark.row("C4.6")
def test_a_few_addresses_in_free_text_are_enough():
    words = ["likes tea"] * 90 + [f"write to me: jo{i}@mail.example.org" for i in range(10)]
    (refused,) = check_identifiers(pd.DataFrame({"note": words}))
    assert refused.kind == "e-mail"


@pytest.mark.row("C4.6")
@pytest.mark.parametrize(
    "name", ["email", "CustomerID", "household_id", "Phone", "home-address", "zip", "dateOfBirth"]
)
def test_a_name_is_enough(name):
    frame = pd.DataFrame({name: np.arange(5.0)})
    assert [r.kind for r in check_identifiers(frame)] == ["name"]


@pytest.mark.row("C4.6")
def test_declared_columns_are_refused_and_all_faults_come_at_once():
    frame = ordinary().assign(ethnic_origin="a", mail=PLANTED["e-mail"](1), loyalty=1.0)
    declared = {"loyalty": [Tag.IDENTIFIER], "ethnic_origin": [Tag.PERSONAL, Tag.SENSITIVE]}
    refused = {r.column: r.kind for r in check_identifiers(frame, declared)}
    assert refused == {
        "ethnic_origin": "declared sensitive",
        "mail": "e-mail",
        "loyalty": "declared identifier",
    }


def test_what_is_personal_but_names_nobody_is_allowed():
    assert check_identifiers(ordinary(), {"age_band": [Tag.PERSONAL]}) == []


def test_a_card_number_kept_as_a_number_is_refused():
    frame = pd.DataFrame({"preference": [float(card(i)) for i in range(1, 80)]})
    assert [r.kind for r in check_identifiers(frame)] == ["card number"]


def test_check_digits_decide():
    wrong = [iban(i)[:-1] + str((int(iban(i)[-1]) + 1) % 10) for i in range(20)] * 10
    assert check_identifiers(pd.DataFrame({"preference": wrong})) == []


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    levels=st.lists(
        st.text(alphabet="abcdefghij ÄÖÜ-", min_size=1, max_size=12), min_size=1, max_size=30
    ),
    scale=st.floats(1e-3, 1e9),
)
def test_ordinary_features_pass(seed, levels, scale):
    rng = np.random.default_rng(seed)
    frame = ordinary(seed).assign(
        spend_amount=rng.exponential(scale, N), plan=rng.choice(levels, N)
    )
    assert check_identifiers(frame) == []
