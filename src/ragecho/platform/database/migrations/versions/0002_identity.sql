-- The identity service: clients, grants, codes, tokens, signing keys, and the role that alone reads them.
do $$
begin
  begin
    create role ragecho_identity nologin nosuperuser nobypassrls;
  exception when duplicate_object or unique_violation then null; -- another database of this server made it
  end;
  if not pg_has_role(current_user, 'ragecho_identity', 'set') then
    grant ragecho_identity to current_user with set true, inherit false;
  end if;
end
$$;
grant usage on schema public to ragecho_identity;

-- What stands in these tables is read by the identity service alone. Secrets are SHA-256 digests of random values, or
-- encrypted with the master key where they must be read back (`…_vault`).
create table identity_clients (
  id                        text primary key,
  name                      text not null,
  -- managed: made by an administrator; dynamic: registered itself (RFC 7591); first_party: Echo's own, without consent
  kind                      text not null check (kind in ('managed', 'dynamic', 'first_party')),
  secret_sha256             bytea,
  secret_vault              text,
  auth_method               text not null
    check (auth_method in ('none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt')),
  application_type          text not null default 'web' check (application_type in ('web', 'native')),
  redirect_uris             text[] not null default '{}',
  post_logout_redirect_uris text[] not null default '{}',
  grant_types               text[] not null,
  scopes                    text[] not null,
  -- whom its tokens may be for (RFC 8707), the first by default; 'echo' is Echo's own API, as is an empty list
  audiences                 text[] not null default '{}',
  require_pkce              boolean not null default true,
  id_token_alg              text not null default 'ES256' check (id_token_alg in ('ES256', 'RS256')),
  backchannel_logout_uri    text,
  -- the rest of what RFC 7591 and OpenID Connect registration know: logo_uri, contacts, jwks, …
  metadata                  jsonb not null default '{}',
  -- a service client (client credentials) acts in one workspace
  organization_id           uuid references organizations on delete cascade,
  workspace_id              uuid references workspaces on delete cascade,
  registration_sha256       bytea,
  created_at                timestamptz not null default now(),
  updated_at                timestamptz not null default now(),
  disabled_at               timestamptz
);

-- What a person allowed a client: every token names its grant (`gid`), and ends with it.
create table identity_grants (
  id         uuid primary key,
  client_id  text not null references identity_clients on delete cascade,
  user_id    uuid not null references users on delete cascade,
  session_id uuid,
  scopes     text[] not null,
  -- the audiences that the authorization request named (RFC 8707); empty: whatever the client may have
  resources  text[] not null default '{}',
  auth_time  timestamptz not null,
  acr        text,
  amr        text[] not null default '{}',
  claims     jsonb,
  created_at timestamptz not null default now(),
  -- no refresh goes beyond this
  expires_at timestamptz not null,
  revoked_at timestamptz,
  revoked_because text
);
create index identity_grants_user on identity_grants (user_id, created_at desc);
create index identity_grants_session on identity_grants (session_id) where session_id is not null;

create table identity_consents (
  user_id    uuid not null references users on delete cascade,
  client_id  text not null references identity_clients on delete cascade,
  scopes     text[] not null,
  granted_at timestamptz not null default now(),
  primary key (user_id, client_id)
);

create table identity_codes (
  code_sha256           bytea primary key,
  grant_id              uuid not null references identity_grants on delete cascade,
  client_id             text not null,
  redirect_uri          text not null,
  is_redirect_uri_given boolean not null,
  nonce                 text,
  code_challenge        text,
  created_at            timestamptz not null default now(),
  expires_at            timestamptz not null,
  used_at               timestamptz
);

-- A family is a grant's chain of tokens; exactly one is unused.
create table identity_refresh_tokens (
  token_sha256     bytea primary key,
  grant_id         uuid not null references identity_grants on delete cascade,
  generation       integer not null,
  created_at       timestamptz not null default now(),
  expires_at       timestamptz not null,
  used_at          timestamptz,
  unique (grant_id, generation)
);

create table identity_device_codes (
  device_code_sha256 bytea primary key,
  user_code          text not null unique,
  client_id          text not null references identity_clients on delete cascade,
  scopes             text[] not null,
  resources          text[] not null default '{}',
  status             text not null default 'pending' check (status in ('pending', 'approved', 'denied', 'used')),
  grant_id           uuid references identity_grants on delete cascade,
  interval_seconds   integer not null,
  last_polled_at     timestamptz,
  created_at         timestamptz not null default now(),
  expires_at         timestamptz not null
);

-- Pushed authorization requests (RFC 9126), used once.
create table identity_pushed_requests (
  request_sha256 bytea primary key,
  client_id      text not null references identity_clients on delete cascade,
  parameters     jsonb not null,
  expires_at     timestamptz not null,
  used_at        timestamptz
);

-- An authorization request on its way through the login and consent pages, bound to one browser.
create table identity_interactions (
  id              uuid primary key,
  browser_sha256  bytea not null,
  client_id       text not null references identity_clients on delete cascade,
  parameters      jsonb not null,
  step            text not null check (step in ('login', 'second_factor', 'consent', 'done')),
  user_id         uuid references users on delete cascade,
  -- the browser session that signed in for this request
  session_id      uuid,
  logged_in_at    timestamptz,
  approved_scopes text[],
  is_denied       boolean not null default false,
  created_at      timestamptz not null default now(),
  expires_at      timestamptz not null
);

create table identity_signing_keys (
  kid           text primary key,
  alg           text not null check (alg in ('ES256', 'RS256')),
  status        text not null check (status in ('next', 'current', 'previous')),
  public_jwk    jsonb not null,
  private_vault text not null,
  created_at    timestamptz not null default now(),
  activated_at  timestamptz,
  -- previous keys leave the published set after this
  expires_at    timestamptz
);
create unique index identity_signing_keys_one on identity_signing_keys (alg, status) where status <> 'previous';

-- Access tokens without a grant (client credentials) that were revoked one by one.
create table identity_revoked_tokens (
  jti        text primary key,
  expires_at timestamptz not null
);

-- Client assertions (private_key_jwt) count once, as long as they would be valid.
create table identity_used_assertions (
  assertion_sha256 bytea primary key,
  expires_at       timestamptz not null
);

-- Back-channel logout (OpenID Connect Back-Channel Logout 1.0), retried until delivered or given up.
create table identity_logout_deliveries (
  id              uuid primary key,
  client_id       text not null references identity_clients on delete cascade,
  subject         text not null,
  session_id      uuid,
  attempts        integer not null default 0,
  next_attempt_at timestamptz not null default now(),
  delivered_at    timestamptz,
  given_up_at     timestamptz,
  last_error      text,
  created_at      timestamptz not null default now()
);
create index identity_logout_deliveries_due on identity_logout_deliveries (next_attempt_at)
  where delivered_at is null and given_up_at is null;

do $$
declare
  t text;
begin
  foreach t in array array['identity_clients', 'identity_grants', 'identity_consents', 'identity_codes',
                           'identity_refresh_tokens', 'identity_device_codes', 'identity_pushed_requests',
                           'identity_interactions', 'identity_signing_keys', 'identity_revoked_tokens',
                           'identity_logout_deliveries', 'identity_used_assertions'] loop
    execute format('alter table %I enable row level security, force row level security', t);
    execute format('create policy identity on %I to ragecho_identity using (true) with check (true)', t);
    execute format('grant select, insert, update, delete on %I to ragecho_identity', t);
  end loop;
end
$$;

-- Whom tokens are about, and where a service client acts.
create policy identity_protocol on users for select to ragecho_identity using (true);
grant select (id, email, name, is_disabled, created_at) on users to ragecho_identity;
create policy identity_protocol on workspaces for select to ragecho_identity using (true);
grant select (id, organization_id, slug, name, status, created_at) on workspaces to ragecho_identity;

-- What the application verifies access tokens with: the public halves only.
create function ragecho_signing_keys() returns table (kid text, alg text, public_jwk jsonb)
language sql stable security definer
set search_path = pg_catalog, public
as $$
  select k.kid, k.alg, k.public_jwk from identity_signing_keys k where k.expires_at is null or k.expires_at > now()
$$;

-- Whether an access token without a grant was revoked.
create function ragecho_token_is_revoked(token_jti text) returns boolean
language sql stable security definer
set search_path = pg_catalog, public
as $$
  select exists (select from identity_revoked_tokens r where r.jti = token_jti)
$$;

create policy login on identity_signing_keys for select to ragecho_login using (true);
grant select (kid, alg, public_jwk, expires_at) on identity_signing_keys to ragecho_login;
create policy login on identity_revoked_tokens for select to ragecho_login using (true);
grant select on identity_revoked_tokens to ragecho_login;
-- For the functions of later migrations that turn a token into a caller.
create policy login on identity_grants for select to ragecho_login using (true);
grant select on identity_grants to ragecho_login;
create policy login on identity_clients for select to ragecho_login using (true);
grant select (id, kind, scopes, organization_id, workspace_id, disabled_at) on identity_clients to ragecho_login;

grant create on schema public to ragecho_login;
alter function ragecho_signing_keys owner to ragecho_login;
alter function ragecho_token_is_revoked owner to ragecho_login;
revoke create on schema public from ragecho_login;
revoke execute on function ragecho_signing_keys, ragecho_token_is_revoked from public;
grant execute on function ragecho_signing_keys, ragecho_token_is_revoked to ragecho_app;
