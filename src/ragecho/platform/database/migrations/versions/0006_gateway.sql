-- The web gateway: its sessions and pending sign-ins. Read by the identity service's role alone, like all credentials: a
-- query of the application that goes wrong cannot show who is signed in.

-- A browser on its way to the login page and back. The code verifier and the nonce are derived from the state with the
-- master key, so that nothing here (nor the state in the address) is enough to finish a sign-in.
create table web_logins (
  state_sha256   bytea primary key,
  browser_sha256 bytea not null, -- of a cookie: the sign-in ends in the browser where it began
  return_to      text not null,
  created_at     timestamptz not null default now(),
  expires_at     timestamptz not null,
  used_at        timestamptz
);
create index web_logins_expires on web_logins (expires_at);

create table web_sessions (
  id                  uuid primary key,
  secret_sha256       bytea not null unique,
  user_id             uuid not null references users on delete cascade,
  provider_session_id uuid, -- `sid`: the provider's session that this one came from
  grant_id            uuid, -- `gid`: what the person allowed the browser app
  id_token_sealed     text not null, -- the hint for signing out at the provider
  refresh_sealed      text,
  renew_at            timestamptz, -- when the tokens are due
  renewing_until      timestamptz, -- somebody is at it
  created_at          timestamptz not null default now(),
  last_seen_at        timestamptz not null default now(),
  idle_seconds        integer not null,
  expires_at          timestamptz not null, -- whatever happens
  ended_at            timestamptz,
  end_reason          text check (end_reason in ('signed_out', 'everywhere', 'backchannel', 'refused', 'replaced'))
);
create index web_sessions_user on web_sessions (user_id) where ended_at is null;
create index web_sessions_provider on web_sessions (provider_session_id) where ended_at is null;
create index web_sessions_expires on web_sessions (expires_at);

-- Logout tokens count once (OpenID Connect Back-Channel Logout 1.0, 2.6).
create table web_logout_tokens (
  jti_sha256 bytea primary key,
  expires_at timestamptz not null
);

do $$
declare
  t text;
begin
  foreach t in array array['web_logins', 'web_sessions', 'web_logout_tokens'] loop
    execute format('alter table %I enable row level security, force row level security', t);
    execute format('create policy identity on %I to ragecho_identity using (true) with check (true)', t);
    execute format('grant select, insert, update, delete on %I to ragecho_identity', t);
  end loop;
end
$$;

-- Where a person belongs, across organisations: for "who am I", asked by the gateway before there is a workspace.
create function ragecho_places_of(person uuid)
returns table (organization_id uuid, organization_name text, organization_role text, workspace_id uuid, workspace_slug text,
               workspace_name text, workspace_role text, is_archived boolean)
language sql stable security definer
set search_path = pg_catalog, public
as $$
  select o.id, o.name, m.role, w.id, w.slug, w.name,
         case when m.role in ('owner', 'admin') then 'admin' else wm.role end, w.status = 'archived'
  from organization_members m
  join organizations o on o.id = m.organization_id
  left join workspace_members wm on wm.organization_id = m.organization_id and wm.user_id = m.user_id
                                and m.role not in ('owner', 'admin')
  left join workspaces w on w.organization_id = m.organization_id
                        and (m.role in ('owner', 'admin') or w.id = wm.workspace_id)
  where m.user_id = person and m.suspended_at is null
  order by m.created_at, o.id, w.created_at, w.id
  limit 1000
$$;
grant create on schema public to ragecho_login;
alter function ragecho_places_of owner to ragecho_login;
revoke create on schema public from ragecho_login;
revoke execute on function ragecho_places_of from public;
grant execute on function ragecho_places_of to ragecho_identity;
