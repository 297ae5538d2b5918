"""The section [oidc] of a coordinator's configuration: whose logins count here, and for what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from umbel.api.toml import TomlFile
from umbel.federation.access import Role
from umbel.federation.errors import AccessError, IdentityError
from umbel.plan.errors import PlanError

if TYPE_CHECKING:
    from umbel.federation.oidc.tokens import Expected


class OidcSection(BaseModel):
    """Logins at an OpenID provider."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    issuer: str = Field(min_length=1, examples=['"https://login.example.org/realms/umbel"'])
    client_id: str = Field(min_length=1, examples=['"umbel"'])
    audience: str = ""
    token: Literal["access", "id"] = "access"  # noqa: S105 - a kind, no secret
    user_claim: str = Field(default="sub", min_length=1)
    user_prefix: str = Field(default="", pattern=r"^[^\s\x00-\x1f\x7f]{0,64}$")
    roles_claims: list[str] = Field(default=["groups"], min_length=1)
    roles: dict[str, list[str]] = Field(min_length=1, examples=['{ analyst = ["umbel-analysts"] }'])
    scopes: list[str] = ["openid", "offline_access"]
    parameters: dict[str, str] = {}
    leeway_seconds: float = Field(default=60.0, ge=0, le=300)
    ca: str = ""

    def checked(self, file: TomlFile) -> OidcSection:
        """Check what the form of the values does not say.

        Raises:
            PlanError: the issuer is no https URL, or there is no such role; names the line.
        """
        from umbel.federation.oidc.provider import checked_url

        where: tuple[str, ...] = ("oidc", "roles")
        try:
            checked_url(self.issuer, "the issuer", plain=True)
            for role in self.roles:
                where = ("oidc", "roles", role)
                Role.of(role)
        except IdentityError as error:
            place = file.place(("oidc", "issuer"))
            raise PlanError(f"{place}: {error.message}", hint=error.hint) from None
        except AccessError as error:
            raise PlanError(f"{file.place(where)}: {error.message}", hint=error.hint) from None
        return self

    def authority(self, file: TomlFile) -> Path | None:
        """The file of certificates to trust for the provider."""
        return file.located(self.ca) if self.ca else None

    def expected(self) -> Expected:
        """What tokens must say."""
        from umbel.federation.oidc.tokens import Expected

        roles: dict[str, tuple[Role, ...]] = {}
        for role, groups in self.roles.items():
            for group in groups:
                roles[group] = (*roles.get(group, ()), Role(role))
        return Expected(
            self.issuer,
            self.audience or self.client_id,
            self.client_id,
            self.token,
            self.user_claim,
            self.user_prefix,
            tuple(self.roles_claims),
            roles,
            self.leeway_seconds,
        )

    def told(self) -> dict[str, Any]:
        """What a client needs to know in order to log in; nothing of it is secret."""
        return {
            "issuer": self.issuer,
            "client_id": self.client_id,
            "token": self.token,
            "scopes": self.scopes,
            "parameters": self.parameters,
        }


__all__ = ["OidcSection"]
