"""Joining: the site makes its key, and gets a certificate for it with an invitation."""

from __future__ import annotations

from pathlib import Path

from umbel.federation.client.connection import Connection, asked_root, tls_context
from umbel.federation.errors import CoordinatorError, IdentityError
from umbel.federation.identity import Certificate, EnrolmentRequest, JoinToken, PrivateKey
from umbel.federation.identity.certificates import fingerprint, key_matches
from umbel.federation.identity.keys import new_key, write_key, write_secret
from umbel.federation.site.settings import FILE, TEMPLATE, SiteSettings
from umbel.federation.wire.connection import CERTIFICATE, KEY, ROOT


def join(token: str, folder: Path, *, url: str | None = None, again: bool = False) -> SiteSettings:
    """Join a federation.

    Args:
        token: the word of the invitation.
        folder: where the key, the certificate and, if there is none, a configuration are put.
        url: where the coordinator is reached from here; None goes by the token.
        again: replace the certificate of a site that joined before.

    Raises:
        IdentityError: the token is none, was used or has expired, or who answers is not the
            coordinator that it is from; or this folder holds a site already.
        CoordinatorError: the coordinator cannot be reached.
    """
    word = JoinToken.decode(token)
    if (folder / CERTIFICATE).exists() and not again:
        raise IdentityError(
            f"{folder} holds the identity of a site already",
            hint="--again replaces it; another site takes another folder",
        )
    where = (url or word.url).rstrip("/")
    root = asked_root(where, word.authority, "invitation")
    key = new_key()
    request = EnrolmentRequest.make(word, key)
    connection = Connection(where, None, tls_context(root))
    try:
        answer = connection.post(
            "/v1/enrol",
            {
                "invitation": request.invitation,
                "signing_request": request.signing_request.decode(),
                "proof": request.proof,
            },
        )
    finally:
        connection.close()
    try:
        certificate = Certificate.parse(answer["certificate"].encode())
        address = str(answer["address"])
    except (KeyError, TypeError, AttributeError):
        raise CoordinatorError(f"{where} answers, but not as a coordinator does") from None
    trusted = Certificate.parse(root).own
    certificate.check(trusted)
    if not key_matches(key, certificate) or fingerprint(trusted) != word.authority:
        raise IdentityError("the certificate that came is not for the key that was made here")
    return _keep(folder, key, certificate, root, address)


def _keep(
    folder: Path, key: PrivateKey, certificate: Certificate, root: bytes, address: str
) -> SiteSettings:
    name = certificate.party.name
    file = folder / FILE
    if file.exists() and (known := SiteSettings.read(file).name) != name:
        raise IdentityError(
            f"the invitation is for {name!r}, but {file} is that of {known!r}",
            hint="join in another folder",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise IdentityError(f"cannot make {folder}: {error.strerror}") from None
    # The certificate comes last: only with it a folder counts as one that has joined.
    for old in (KEY, CERTIFICATE):
        if (folder / old).exists():
            (folder / old).replace(folder / f"{old}.before")
    write_key(folder / KEY, key)
    write_secret(folder / ROOT, root)
    write_secret(folder / CERTIFICATE, certificate.pem())
    if not file.exists():
        text = TEMPLATE.format(file=FILE, name=name, address=address)
        file.write_text(text, encoding="utf-8")
    return SiteSettings.read(file)


__all__ = ["join"]
