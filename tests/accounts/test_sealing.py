"""What is sealed opens again, for its own purpose alone, and so does what was sealed before there was a purpose."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from cryptography.fernet import Fernet, InvalidToken

from apps.accounts import sealing
from apps.accounts.adapter import SecondFactorAdapter


def test_for_its_own_purpose_alone() -> None:
    sealed = sealing.seal("a secret", purpose="one")
    assert "secret" not in sealed
    assert sealing.unseal(sealed, purpose="one") == "a secret"
    with pytest.raises(InvalidToken):
        sealing.unseal(sealed, purpose="another")


def test_earlier_keys_open_while_they_are_named(settings: Any) -> None:
    sealed, earlier = sealing.seal("a secret", purpose="one"), settings.SECRET_KEY
    settings.SECRET_KEY = "changed-" * 8
    with pytest.raises(InvalidToken):
        sealing.unseal(sealed, purpose="one")
    settings.SECRET_KEY_FALLBACKS = [earlier]
    assert sealing.unseal(sealed, purpose="one") == "a secret"


def test_second_factors_of_earlier_versions_still_open(settings: Any) -> None:
    key = base64.urlsafe_b64encode(hashlib.sha256(f"voicecloud second factor{settings.SECRET_KEY}".encode()).digest())
    assert SecondFactorAdapter().decrypt(Fernet(key).encrypt(b"totp").decode()) == "totp"
