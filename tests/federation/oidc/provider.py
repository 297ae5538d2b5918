"""A small OpenID provider: a FastAPI application on loopback that signs with cryptography alone.

It does what providers do (discovery, keys, the device grant, codes with PKCE, refreshing with
rotation, revoking), and it signs whatever a test asks for, also what no provider should.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import uvicorn
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def number(value: int, size: int = 0) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def joined(header: dict[str, Any], claims: Any, signature: bytes = b"") -> bytes:
    """The part of a token that is signed."""
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}".encode()


@dataclass
class Key:
    """A key of the provider's."""

    name: str
    private: Any

    @classmethod
    def rsa(cls, name: str, size: int = 2048) -> Key:
        return cls(name, rsa.generate_private_key(public_exponent=65537, key_size=size))

    @classmethod
    def p256(cls, name: str) -> Key:
        return cls(name, ec.generate_private_key(ec.SECP256R1()))

    @property
    def algorithm(self) -> str:
        return "RS256" if isinstance(self.private, rsa.RSAPrivateKey) else "ES256"

    @property
    def pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def jwk(self) -> dict[str, Any]:
        numbers = self.private.public_key().public_numbers()
        named = {"kid": self.name, "use": "sig", "alg": self.algorithm}
        if self.algorithm == "RS256":
            return {**named, "kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        x, y = number(numbers.x, 32), number(numbers.y, 32)
        return {**named, "kty": "EC", "crv": "P-256", "x": x, "y": y}

    def sign(self, claims: Any, **header: Any) -> str:
        """Make a token; a header that is None is left out."""
        whole = {"alg": self.algorithm, "typ": "at+jwt", "kid": self.name, **header}
        content = joined({k: v for k, v in whole.items() if v is not None}, claims)
        if self.algorithm == "RS256":
            signature = self.private.sign(content, padding.PKCS1v15(), hashes.SHA256())
        else:
            r, s = decode_dss_signature(self.private.sign(content, ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"{content.decode()}.{b64(signature)}"


def by_hmac(secret: bytes, claims: Any, **header: Any) -> str:
    """A token that is "signed" with a key that everybody has."""
    content = joined({"alg": "HS256", "typ": "at+jwt", **header}, claims)
    return f"{content.decode()}.{b64(hmac.digest(secret, content, 'sha256'))}"


@dataclass
class TestProvider:
    """A provider that runs, and what it knows."""

    __test__ = False

    url: str = ""
    keys: list[Key] = field(default_factory=lambda: [Key.rsa("k1"), Key.p256("k2")])
    #: Who logs in next, and what their tokens say besides.
    user: str = "ann"
    claims: dict[str, Any] = field(default_factory=lambda: {"groups": ["umbel-analysts"]})
    seconds: float = 300.0
    #: How often the device grant says that nobody has logged in yet.
    pending: int = 1
    devices: bool = True
    asked: list[str] = field(default_factory=list)
    codes: dict[str, tuple[str, str]] = field(default_factory=dict)
    refreshing: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    overrides: dict[str, Any] = field(default_factory=dict)

    def token(self, key: Key | None = None, header: Any = None, **claims: Any) -> str:
        """Sign a token; a claim that is None is left out."""
        now = time.time()
        whole = {
            "iss": self.url,
            "aud": "umbel",
            "sub": self.user,
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now + self.seconds),
            **self.claims,
            **claims,
        }
        kept = {name: value for name, value in whole.items() if value is not None}
        return (key or self.keys[0]).sign(kept, **(header or {}))

    def granted(self) -> JSONResponse:
        refresh = secrets.token_urlsafe(16)
        self.refreshing.add(refresh)
        id_token = self.token(self.keys[1], {"typ": "JWT"}, aud="umbel-client")
        return JSONResponse(
            {
                "access_token": self.token(),
                "id_token": id_token,
                "refresh_token": refresh,
                "token_type": "Bearer",
                "expires_in": self.seconds,
            }
        )

    def application(self) -> FastAPI:
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        def discovery() -> Any:
            self.asked.append("discovery")
            found = {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/jwks",
                "token_endpoint": f"{self.url}/token",
                "authorization_endpoint": f"{self.url}/authorize",
                "revocation_endpoint": f"{self.url}/revoke",
            }
            if self.devices:
                found["device_authorization_endpoint"] = f"{self.url}/device"
            return {**found, **self.overrides}

        @app.get("/jwks")
        def jwks() -> Any:
            self.asked.append("jwks")
            return {"keys": [key.jwk() for key in self.keys]}

        @app.get("/elsewhere")
        def elsewhere() -> Response:
            self.asked.append("elsewhere")
            return RedirectResponse(f"{self.url}/jwks")

        @app.get("/authorize")
        def authorize(request: Request) -> Response:
            query = request.query_params
            assert query["response_type"] == "code"
            assert query["code_challenge_method"] == "S256"
            code = secrets.token_urlsafe(16)
            self.codes[code] = query["code_challenge"], query["redirect_uri"]
            back = {"code": code, "state": query["state"], "iss": self.url}
            return RedirectResponse(f"{query['redirect_uri']}?{urlencode(back)}")

        @app.post("/device")
        async def device(request: Request) -> Any:
            form = await fields(request)
            assert form["client_id"] == "umbel-client"
            return {
                "device_code": "device-secret",
                "user_code": "WDJB-MJHT",
                "verification_uri": f"{self.url}/code",
                "interval": 0.05,
                "expires_in": 600,
            }

        @app.post("/token")
        async def token(request: Request) -> Response:
            form = await fields(request)
            self.asked.append(form["grant_type"])
            match form["grant_type"]:
                case "authorization_code":
                    challenge, redirect = self.codes.pop(form["code"])
                    proof = b64(hashlib.sha256(form["code_verifier"].encode()).digest())
                    if (proof, form["redirect_uri"]) != (challenge, redirect):
                        return JSONResponse({"error": "invalid_grant"}, 400)
                case "refresh_token":
                    # Each is taken once.
                    if form["refresh_token"] not in self.refreshing - self.revoked:
                        return JSONResponse({"error": "invalid_grant"}, 400)
                    self.refreshing.remove(form["refresh_token"])
                case _:
                    if self.pending > 0:
                        self.pending -= 1
                        return JSONResponse({"error": "authorization_pending"}, 400)
                    if self.pending < 0:
                        return JSONResponse({"error": "access_denied"}, 400)
            return self.granted()

        @app.post("/revoke")
        async def revoke(request: Request) -> Response:
            self.revoked.add((await fields(request))["token"])
            return PlainTextResponse("")

        return app


async def fields(request: Request) -> dict[str, str]:
    """The fields of a form."""
    return dict(parse_qsl((await request.body()).decode()))


@contextmanager
def serving(provider: TestProvider) -> Iterator[TestProvider]:
    """Serve a provider on a free port of this machine."""
    config = uvicorn.Config(
        provider.application(), host="127.0.0.1", port=0, log_level="error", lifespan="off"
    )
    sock = config.bind_socket()
    sock.listen(64)
    provider.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([sock],), daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.should_exit = server.force_exit = True
        thread.join(30)
        sock.close()
