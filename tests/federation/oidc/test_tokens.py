"""Tokens of a provider that are good, and every kind that is not, at a coordinator that listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.federation.oidc.provider import Key, TestProvider, by_hmac, joined, serving
from umbel.federation.access import Principal, Role
from umbel.federation.errors import AccessError, IdentityError, ProviderError
from umbel.federation.oidc.keys import FRESH, STALE, Keys
from umbel.federation.oidc.provider import Provider, checked_url
from umbel.federation.oidc.tokens import LONGEST, Expected, Tokens

GRANTED = {"umbel-analysts": (Role.ANALYST,), "umbel-admins": (Role.OPERATOR, Role.AUDITOR)}


@pytest.fixture(scope="module")
def provider() -> Iterator[TestProvider]:
    with serving(TestProvider()) as made:
        yield made


Judges = Callable[..., "Judge"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Judge:
    """Judges tokens of the provider, by a clock that the test turns on."""

    def __init__(self, provider: TestProvider, **expected: Any) -> None:
        self.clock = Clock()
        self.asks = Provider(provider.url)
        self.keys = Keys(self.asks, clock=self.clock)
        whole = {"audience": "umbel", "client": "umbel-client", "roles": GRANTED, **expected}
        self.tokens = Tokens(Expected(provider.url, **whole), self.keys)

    def __call__(self, word: str) -> Principal:
        return self.tokens.admit(word)


@pytest.fixture
def judges() -> Iterator[Callable[..., Judge]]:
    made: list[Judge] = []

    def make(provider: TestProvider, **expected: Any) -> Judge:
        made.append(Judge(provider, **expected))
        return made[-1]

    yield make
    for judge in made:
        judge.asks.close()


@pytest.fixture
def judge(provider: TestProvider, judges: Judges) -> Judge:
    return judges(provider)


def test_good_tokens(provider: TestProvider, judge: Judge) -> None:
    ann = Principal("ann", (Role.ANALYST,))
    assert judge(provider.token()) == ann
    assert judge(provider.token(provider.keys[1])) == ann  # ES256
    assert judge(provider.token(header={"typ": "JWT"})) == ann
    assert judge(provider.token(header={"typ": None})) == ann
    assert judge(provider.token(aud=["other", "umbel"])) == ann
    # Within the leeway of a minute.
    assert judge(provider.token(exp=int(time.time()) - 30)) == ann
    assert judge(provider.token(nbf=int(time.time()) + 30)) == ann
    both = judge(provider.token(groups=["umbel-admins", "umbel-analysts", "x"]))
    assert both.roles == (Role.ANALYST, Role.OPERATOR, Role.AUDITOR)


def test_claims_and_names(provider: TestProvider, judges: Judges) -> None:
    found = judges(
        provider, user="email", prefix="idp:", claims=("realm_access.roles", "https://x.org/roles")
    )
    said: dict[str, Any] = {"email": "ann@example.org", "groups": None}
    deep: dict[str, Any] = {"realm_access": {"roles": ["umbel-analysts"]}}
    plain: dict[str, Any] = {"https://x.org/roles": "umbel-admins other"}
    verified = {**said, "email_verified": True}
    assert found(provider.token(**verified, **deep, **plain)) == Principal(
        "idp:ann@example.org", (Role.ANALYST, Role.OPERATOR, Role.AUDITOR)
    )
    with pytest.raises(IdentityError, match="has not verified"):
        found(provider.token(**said, **deep))
    with pytest.raises(IdentityError, match="holds no user's name"):
        found(provider.token(**{**verified, "email": "ann smith"}, **deep))
    with pytest.raises(IdentityError, match="holds no user's name"):
        found(provider.token(**{**verified, "email": ["ann"]}, **deep))


def test_who_has_no_role(provider: TestProvider, judge: Judge) -> None:
    for groups in (None, [], ["others"], [{"umbel-analysts": 1}], 7):
        with pytest.raises(AccessError, match="'ann' is known, but has no role here"):
            judge(provider.token(groups=groups))


def test_hostile_tokens(provider: TestProvider, judge: Judge) -> None:
    """None gets in, none is repeated in the message, and none makes us ask anybody else."""
    key, now = provider.keys[0], int(time.time())
    claims = {"iss": provider.url, "aud": "umbel", "sub": "eve", "exp": now + 300}
    claims["groups"] = ["umbel-admins"]
    stranger = Key.rsa("k1")
    weak = Key.rsa("weak", 1024)
    good = provider.token()
    head, body, signature = good.split(".")
    evil = f"{provider.url}/elsewhere"
    cases = {
        "expired": (provider.token(exp=now - 120), "has expired"),
        "not yet": (provider.token(nbf=now + 120), "not valid yet"),
        "from the future": (provider.token(iat=now + 120), "not valid yet"),
        "for another": (provider.token(aud="shop"), "for somebody else"),
        "for nobody": (provider.token(aud=None), "lacks the claim 'aud'"),
        "of another issuer": (provider.token(iss="https://evil.example.org"), "not of the issuer"),
        "of an issuer that begins alike": (provider.token(iss=provider.url + "/"), "not of the"),
        "for ever": (provider.token(exp=None), "lacks the claim 'exp'"),
        "till infinity": (provider.token(exp=float("inf")), "no good"),
        "till a word": (provider.token(exp="soon"), "no good"),
        "of nobody": (provider.token(sub=None), "lacks the claim 'sub'"),
        "not signed": (joined({"alg": "none"}, claims).decode() + ".", "not signed in a way"),
        "NONE": (joined({"alg": "NoNe", "kid": "k1"}, claims).decode() + ".", "not signed in"),
        "with the public key": (by_hmac(key.pem, claims, kid="k1"), "not signed in a way"),
        "HS256 said to be RS256": (by_hmac(key.pem, claims, alg="RS256", kid="k1"), "no good"),
        "by a stranger": (stranger.sign(claims), "no good"),
        "by a key that is unknown": (stranger.sign(claims, kid="k9"), "does not have"),
        "another's algorithm": (key.sign(claims, alg="PS256"), "does not have"),
        "EC key for RSA": (key.sign(claims, kid="k2"), "does not have"),
        "its own key": (stranger.sign(claims, jwk=stranger.jwk()), "no good"),
        "jku": (stranger.sign(claims, kid="k9", jku=evil, x5u=evil), "does not have"),
        "critical": (key.sign(claims, crit=["exp2"], exp2=1), "no good"),
        "a logout token": (key.sign(claims, typ="logout+jwt"), "no access token"),
        "bound to a key": (provider.token(cnf={"jkt": "x"}), "bound to a key"),
        "changed": (f"{head}.{stranger.sign(claims).split('.')[1]}.{signature}", "no good"),
        "cut": (f"{head}.{body}.", "no good"),
        "five parts": (good + ".a.b", "no good"),
        "no token": ("x" * 100, "no good"),
        "kid that is no text": (key.sign(claims, kid=["k1"]), "no good"),
        "too long": (provider.token(pad="x" * LONGEST), "at most 16,384"),
        "deep": (key.sign([[]]).replace(body, "W1tb" * 3000)[: LONGEST - 1], "no good"),
        "claims that are a list": (key.sign([claims]), "no good"),
    }
    provider.keys.append(weak)
    judge.clock.now += 100
    cases["by a key that is too small"] = weak.sign(claims), "no good"
    for name, (word, match) in cases.items():
        with pytest.raises(IdentityError, match=match) as caught:
            judge(word)
        assert "eve" not in str(caught.value), name
    assert "elsewhere" not in provider.asked
    provider.keys.remove(weak)


def test_keys_rotate_and_strangers_do_not_make_us_ask_often(
    provider: TestProvider, judge: Judge
) -> None:
    first = provider.keys
    old, new = provider.keys[0], Key.rsa("k3")
    judge(provider.token())
    provider.asked.clear()
    try:
        provider.keys = [new, provider.keys[1]]
        # Known still: asked for anew only after a while, or for a key that is not known.
        judge(provider.token(old))
        with pytest.raises(IdentityError, match="does not have"):
            judge(provider.token(new))  # they were asked for a moment ago
        assert provider.asked == []
        judge.clock.now += 11
        assert judge(provider.token(new)).user == "ann"
        with pytest.raises(IdentityError, match="does not have"):
            judge(provider.token(old))  # it was withdrawn
        for number in range(50):
            with pytest.raises(IdentityError, match="does not have"):
                judge(new.sign({}, kid=f"made-up-{number}"))
        assert provider.asked.count("jwks") == 1
        judge.clock.now += FRESH + 1
        judge(provider.token(new))
        assert provider.asked.count("jwks") == 2
    finally:
        provider.keys = first


def test_a_provider_that_is_away(judges: Judges) -> None:
    """What was known does for a day; a coordinator that never heard it says that it cannot."""
    provider = TestProvider()
    with serving(provider):
        judge = judges(provider)
        judge(provider.token())
    judge.clock.now += FRESH + 1
    assert judge(provider.token()).user == "ann"
    judge.clock.now += STALE
    with pytest.raises(IdentityError, match="does not have"):
        judge(provider.token())
    with pytest.raises(ProviderError, match="cannot be reached"):
        judges(provider)(provider.token())


def test_a_provider_that_misbehaves(judges: Judges) -> None:
    """Another issuer's document, redirects, answers without end, keys by plain HTTP from afar."""
    provider = TestProvider()
    with serving(provider):

        def refused(error: type[Exception], match: str, **overrides: Any) -> None:
            provider.overrides = overrides
            with pytest.raises(error, match=match):
                judges(provider)(provider.token())

        refused(ProviderError, "calls itself another issuer", issuer="https://evil.example.org")
        refused(ProviderError, "does not say its jwks_uri", jwks_uri=None)
        refused(IdentityError, "not a plain https", jwks_uri="http://192.0.2.1/jwks")
        refused(IdentityError, "not a plain https", jwks_uri="file:///etc/passwd")
        refused(ProviderError, "answers 307", jwks_uri=f"{provider.url}/elsewhere")
        refused(ProviderError, "answers too much", pad="x" * 600_000)
    for url in ("http://login.example.org", "https://u:p@login.example.org", "https://h/#a", "x"):
        with pytest.raises(IdentityError):
            checked_url(url, "the issuer", plain=True)


def test_id_tokens_where_they_are_wanted(provider: TestProvider, judges: Judges) -> None:
    found = judges(provider, kind="id", audience="umbel-client")
    plain: dict[str, Any] = {"header": {"typ": "JWT"}, "aud": "umbel-client"}
    assert found(provider.token(**plain, azp="umbel-client")).user == "ann"
    with pytest.raises(IdentityError, match="given to another client"):
        found(provider.token(**plain, azp="shop"))
    with pytest.raises(IdentityError, match="no id token"):
        found(provider.token(aud="umbel-client"))
