"""HTTP shapes of providers and domains."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator

from ragecho.identity.federation.domains import RECORD_LABEL, normal_domain
from ragecho.identity.federation.model import Domain, WorkspaceGrant
from ragecho.identity.federation.providers import ShownProvider
from ragecho.identity.federation.whose_account import ANY_DOMAIN
from ragecho.kernel.authorization import WorkspaceRole
from ragecho.kernel.errors import InvalidInput
from ragecho.kernel.ids import WorkspaceId
from ragecho.platform.http.text import CleanText

Name = Annotated[CleanText, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Issuer = Annotated[CleanText, StringConstraints(pattern=r"^https?://[^\s?#]+$", max_length=2000)]
ClientId = Annotated[CleanText, StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=500)]
ScopeName = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$", max_length=200)]
DomainName = Annotated[CleanText, StringConstraints(max_length=253)]
AuthMethod = Literal["client_secret_basic", "client_secret_post", "none"]


class WorkspaceGrantShape(BaseModel):
    """A role in a workspace that new members get."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    workspace_id: UUID
    role: WorkspaceRole


class ProviderChange(BaseModel):
    """What is to change; what is not named stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    issuer: Issuer | None = Field(None, description="The provider's URL, exactly as it calls itself.")
    client_id: ClientId | None = None
    client_secret: SecretStr | None = Field(None, min_length=1, max_length=2000, description="Never returned.")
    auth_method: AuthMethod | None = Field(
        None, description="At the token endpoint; default: what the provider offers."
    )
    scopes: list[ScopeName] | None = Field(None, min_length=1, max_length=30)
    hosted_domain: DomainName | None = Field(None, description="Google: only accounts of this Workspace domain.")
    is_enabled: bool | None = None
    is_listed: bool | None = Field(
        None, description="A button on everybody's login page. The operator's organisation only."
    )
    trusts_email: bool | None = Field(
        None, description="Believe it about addresses of any domain. The operator's organisation only."
    )
    trusts_own_domains: bool | None = Field(
        None, description="Believe it about addresses of your verified domains although it never sends email_verified."
    )
    routed_domains: list[DomainName] | None = Field(
        None,
        max_length=100,
        description="People with these addresses are sent to the provider, once the domain is verified.",
    )
    allowed_domains: list[DomainName] | None = Field(
        None,
        max_length=100,
        description="Who becomes a member by signing in; default your verified domains, * for all.",
    )
    creates_members: bool | None = Field(None, description="Whether signing in makes an account and a member.")
    default_role: Literal["member", "admin"] | None = None
    default_workspaces: list[WorkspaceGrantShape] | None = Field(None, max_length=100)

    @field_validator("scopes")
    @classmethod
    def _with_openid(cls, value: list[str] | None) -> list[str] | None:
        return value if value is None or "openid" in value else ["openid", *value]

    @field_validator("hosted_domain", "routed_domains", "allowed_domains")
    @classmethod
    def _normal(cls, value: Any) -> Any:
        if value is None:
            return None
        try:
            if isinstance(value, str):
                return normal_domain(value)
            return list(dict.fromkeys(one if one == ANY_DOMAIN else normal_domain(one) for one in value))
        except InvalidInput as error:
            raise ValueError(error.message) from None

    def values(self) -> dict[str, Any]:
        """Return what was named, as the service takes it; the secret is handed over on its own."""
        found = {name: getattr(self, name) for name in self.model_fields_set - {"client_secret", "preset"}}
        nullable = {"auth_method", "hosted_domain"}
        kept = {name: value for name, value in found.items() if value is not None or name in nullable}
        if "default_workspaces" in kept:
            kept["default_workspaces"] = tuple(
                WorkspaceGrant(WorkspaceId(one.workspace_id), one.role) for one in kept["default_workspaces"]
            )
        return kept

    def secret(self) -> str | None:
        """Return the client secret."""
        return self.client_secret.get_secret_value() if self.client_secret else None


class ProviderIn(ProviderChange):
    """A provider to create."""

    name: Name
    preset: Literal["oidc", "google"] = Field("oidc", description="`google` knows the issuer.")
    client_id: ClientId


class ProviderOut(BaseModel):
    """A provider without its secret. Register `redirect_uri` there."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    organization_id: UUID
    name: str
    preset: str
    issuer: str
    client_id: str
    has_secret: bool
    auth_method: str | None
    scopes: list[str]
    hosted_domain: str | None
    is_enabled: bool
    is_listed: bool
    trusts_email: bool
    trusts_own_domains: bool
    routed_domains: list[str]
    allowed_domains: list[str]
    creates_members: bool
    default_role: str
    default_workspaces: list[WorkspaceGrantShape]
    created_at: datetime
    updated_at: datetime
    redirect_uri: str
    backchannel_logout_uri: str = Field(
        description="Optional: register it there, too, and signing out there ends sessions here."
    )
    unverified_domains: list[str] = Field(description="Routed domains that do not count yet: verify them.")

    @classmethod
    def of(cls, shown: ShownProvider) -> Self:
        """Return the shape of a provider."""
        provider = shown.provider
        fields = {name: getattr(provider, name) for name in cls.model_fields if hasattr(provider, name)}
        return cls.model_validate(
            {
                **fields,
                "redirect_uri": shown.redirect_uri,
                "backchannel_logout_uri": shown.backchannel_logout_uri,
                "unverified_domains": shown.unverified_domains,
            }
        )


class CheckOut(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    verdict: Literal["ok", "warning", "failed"]
    text: str


class DiagnosisOut(BaseModel):
    """Whether a provider works, as far as can be told without a person signing in."""

    works: bool
    checks: list[CheckOut]


class DomainIn(BaseModel):
    """A domain to claim."""

    model_config = ConfigDict(extra="forbid")

    name: DomainName


class DomainOut(BaseModel):
    """A domain. Publish `txt_value` as a TXT record of `txt_name`, then verify it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    txt_name: str
    txt_value: str
    verified_at: datetime | None
    verified_by: str | None
    created_at: datetime

    @classmethod
    def of(cls, domain: Domain) -> Self:
        """Return the shape of a domain."""
        fields = {name: getattr(domain, name) for name in cls.model_fields if hasattr(domain, name)}
        return cls.model_validate({**fields, "txt_name": f"{RECORD_LABEL}.{domain.name}"})
