-- Federation: upstream providers, linked accounts, SCIM.

-- Whose directory a person comes from: that organisation may change their name and close the account. Null: their own.
alter table users
  add column managed_by_organization_id uuid references organizations on delete set null,
  add column is_closed_by_directory     boolean not null default false; -- what the directory closed, it may open again
grant insert (managed_by_organization_id) on users to ragecho_app;

-- Domains that an organisation claims, and has shown to control (a TXT record, or the operator's word). What is claimed
-- but not verified gives no right at all. One organisation at most can have verified a domain.
create table identity_domains (
  organization_id uuid not null references organizations on delete cascade,
  id              uuid not null,
  name            text not null check (name = lower(name) and name ~ '^[a-z0-9-]+(\.[a-z0-9-]+)+$'),
  txt_value       text not null,
  verified_at     timestamptz,
  verified_by     text check (verified_by in ('dns', 'operator')),
  created_at      timestamptz not null default now(),
  primary key (organization_id, id),
  unique (organization_id, name),
  check ((verified_at is null) = (verified_by is null))
);
create unique index identity_domains_verified on identity_domains (name) where verified_at is not null;

create table identity_providers (
  id                   uuid primary key,
  organization_id      uuid not null references organizations on delete cascade,
  name                 text not null,
  preset               text not null check (preset in ('oidc', 'google')),
  issuer               text not null,
  client_id            text not null,
  client_secret_sealed text,
  auth_method          text check (auth_method in ('client_secret_basic', 'client_secret_post', 'none')),
  scopes               text[] not null,
  hosted_domain        text, -- Google's hd claim must say this
  is_enabled           boolean not null default true,
  is_listed            boolean not null default false, -- a button on everybody's login page: the operator's decision
  trusts_email         boolean not null default false, -- believe it about any domain's addresses: the operator's decision
  trusts_own_domains   boolean not null default false, -- believe it about the organisation's domains though it says nothing
  routed_domains       text[] not null default '{}',
  allowed_domains      text[] not null default '{}',
  creates_members      boolean not null default true,
  default_role         text not null default 'member' check (default_role in ('admin', 'member')),
  default_workspaces   jsonb not null default '[]',
  created_at           timestamptz not null default now(),
  updated_at           timestamptz not null default now()
);
create unique index identity_providers_name on identity_providers (organization_id, lower(name));
create index identity_providers_routed on identity_providers using gin (routed_domains) where is_enabled;
create index identity_providers_issuer on identity_providers (issuer);

-- The one key of an upstream account is what its provider calls it. An e-mail address stands here to be shown.
create table federated_identities (
  id           uuid primary key,
  issuer       text not null,
  subject      text not null,
  user_id      uuid not null references users on delete cascade,
  provider_id  uuid references identity_providers on delete set null,
  email        text,
  created_at   timestamptz not null default now(),
  last_used_at timestamptz not null default now(),
  unique (issuer, subject)
);
create index federated_identities_user on federated_identities (user_id);

-- A browser on its way to a provider and back. Nonce and PKCE verifier are derived from the state by the vault's key, so
-- nothing here is worth stealing.
create table federation_sign_ins (
  state_sha256    bytea primary key,
  browser_sha256  bytea not null,
  provider_id     uuid not null references identity_providers on delete cascade,
  interaction     uuid,
  next_page       text not null, -- of our own pages, where there is no interaction
  linking_user_id uuid references users on delete cascade, -- a signed-in person connects an upstream account
  created_at      timestamptz not null default now(),
  expires_at      timestamptz not null,
  used_at         timestamptz
);
create index federation_sign_ins_expiry on federation_sign_ins (expires_at);

-- Somebody came back with an address that an account has already: the connection waits until they sign in to it.
create table federation_pending_links (
  id             uuid primary key,
  browser_sha256 bytea not null,
  provider_id    uuid not null references identity_providers on delete cascade,
  issuer         text not null,
  subject        text not null,
  email          text,
  interaction    uuid,
  next_page      text not null,
  created_at     timestamptz not null default now(),
  expires_at     timestamptz not null,
  used_at        timestamptz
);

-- Which session at which provider a session of ours came from: for logout that begins there.
create table federated_sessions (
  session_id       uuid primary key references identity_sessions on delete cascade,
  identity_id      uuid not null references federated_identities on delete cascade,
  upstream_session text,
  created_at       timestamptz not null default now()
);
create index federated_sessions_identity on federated_sessions (identity_id);

-- Logout tokens (OpenID Connect Back-Channel Logout 1.0) are good for once.
create table federation_logout_tokens (
  issuer     text not null,
  jti        text not null,
  expires_at timestamptz not null,
  primary key (issuer, jti)
);

do $$
declare
  t text;
begin
  foreach t in array array['identity_domains', 'identity_providers', 'federated_identities', 'federation_sign_ins',
                           'federation_pending_links', 'federated_sessions', 'federation_logout_tokens'] loop
    execute format('alter table %I enable row level security, force row level security', t);
    execute format('create policy identity on %I to ragecho_identity using (true) with check (true)', t);
    execute format('grant select, insert, update, delete on %I to ragecho_identity', t);
  end loop;
end
$$;
create policy identity on workspace_members to ragecho_identity using (true) with check (true);
grant select, insert on workspace_members to ragecho_identity;

-- SCIM 2.0. A token speaks for the directory of one organisation.
create table scim_tokens (
  organization_id uuid not null references organizations on delete cascade,
  id              uuid not null,
  name            text not null,
  prefix          text not null,
  secret_sha256   bytea not null unique,
  workspaces      jsonb not null default '[]', -- roles in workspaces that newly provisioned people get
  created_by      uuid references users on delete set null,
  created_at      timestamptz not null default now(),
  expires_at      timestamptz,
  revoked_at      timestamptz,
  last_used_at    timestamptz,
  primary key (organization_id, id)
);

-- People whom the directory provisioned: what it calls them and what it says about them. Their SCIM id is their user id.
create table scim_users (
  organization_id uuid not null,
  user_id         uuid not null,
  user_name       text not null,
  external_id     text,
  resource        jsonb not null,
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  primary key (organization_id, user_id),
  foreign key (organization_id, user_id) references organization_members on delete cascade
);
create unique index scim_users_name on scim_users (organization_id, lower(user_name));
create unique index scim_users_external on scim_users (organization_id, external_id) where external_id is not null;
create unique index groups_external on groups (organization_id, external_id) where external_id is not null;

do $$
declare
  t text;
begin
  foreach t in array array['scim_tokens', 'scim_users'] loop
    execute format('alter table %I enable row level security, force row level security', t);
    execute format('create policy tenant on %I to ragecho_app using (organization_id = (select ragecho_organization()))', t);
    execute format('grant select, insert, update, delete on %I to ragecho_app', t);
  end loop;
end
$$;

-- Which organisation a SCIM token speaks for, looked up before there is a caller. No row when it does not count.
create function ragecho_authenticate_scim_token(digest bytea) returns table (token_id uuid, organization_id uuid, workspaces jsonb)
language plpgsql volatile security definer
set search_path = pg_catalog, public
as $$
#variable_conflict use_column
declare
  token record;
begin
  select t.id, t.organization_id, t.workspaces, t.last_used_at into token from scim_tokens t
  where t.secret_sha256 = digest and t.revoked_at is null and (t.expires_at is null or t.expires_at > now());
  if not found then
    return;
  end if;
  if token.last_used_at is null or token.last_used_at < now() - interval '1 minute' then
    update scim_tokens t set last_used_at = now() where t.organization_id = token.organization_id and t.id = token.id;
  end if;
  return query select token.id, token.organization_id, token.workspaces;
end
$$;

-- Whether the caller's organisation has shown that it controls the domain.
create function ragecho_controls_domain(domain text) returns boolean
language sql stable security definer
set search_path = pg_catalog, public
as $$
  select exists (select from identity_domains d
                 where d.organization_id = ragecho_organization() and d.name = domain and d.verified_at is not null)
$$;

-- Who has this address, told only to the organisation that controls its domain (the address's own, never an argument's).
create function ragecho_person_of_own_domain(address text) returns uuid
language sql stable security definer
set search_path = pg_catalog, public
as $$
  select u.id from users u
  where lower(u.email) = lower(address) and u.deleted_at is null
    and ragecho_controls_domain(lower(substring(u.email from '@([^@]*)$')))
$$;

-- Close or open the account of a person who belongs to the caller's organisation's directory; false for anybody else's.
create function ragecho_set_managed_account(person uuid, is_closed boolean) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, public
as $$
begin
  update users u set is_disabled = is_closed, is_closed_by_directory = is_closed, updated_at = now()
  where u.id = person and u.managed_by_organization_id = ragecho_organization()
    and u.is_disabled <> is_closed and u.is_closed_by_directory <> is_closed;
  return found;
end
$$;

-- A deleted account is connected to nothing any more, and what a directory said about the person goes.
create function ragecho_forget_federation() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, public
as $$
begin
  delete from federated_identities where user_id = new.id;
  delete from scim_users where user_id = new.id;
  return null;
end
$$;
create trigger forget_federation after update of deleted_at on users
  for each row when (new.deleted_at is not null and old.deleted_at is null) execute function ragecho_forget_federation();
create policy forget on federated_identities to ragecho_login using (true);
create policy forget on scim_users to ragecho_login using (true);
grant select (user_id), delete on federated_identities, scim_users to ragecho_login;

create policy login on scim_tokens to ragecho_login using (true);
grant select (organization_id, id, secret_sha256, workspaces, revoked_at, expires_at, last_used_at) on scim_tokens to ragecho_login;
grant update (last_used_at) on scim_tokens to ragecho_login;
create policy login on identity_domains for select to ragecho_login using (true);
grant select on identity_domains to ragecho_login;
create policy close_account on users for update to ragecho_login using (true);
grant update (is_disabled, is_closed_by_directory, updated_at) on users to ragecho_login;

grant create on schema public to ragecho_login;
alter function ragecho_authenticate_scim_token owner to ragecho_login;
alter function ragecho_controls_domain owner to ragecho_login;
alter function ragecho_person_of_own_domain owner to ragecho_login;
alter function ragecho_set_managed_account owner to ragecho_login;
alter function ragecho_forget_federation owner to ragecho_login;
revoke create on schema public from ragecho_login;
revoke execute on function ragecho_authenticate_scim_token, ragecho_controls_domain, ragecho_person_of_own_domain,
  ragecho_set_managed_account, ragecho_forget_federation from public;
grant execute on function ragecho_authenticate_scim_token, ragecho_controls_domain, ragecho_person_of_own_domain,
  ragecho_set_managed_account to ragecho_app;
