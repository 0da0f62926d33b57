-- Permissions: grants on documents, levels by e-mail domain, who a token stands for.
do $$
begin
  begin
    create role ragecho_relabel nologin nosuperuser nobypassrls; -- owner of what takes a principal off documents everywhere
  exception when duplicate_object or unique_violation then null; -- another database of this server made it
  end;
  if not pg_has_role(current_user, 'ragecho_relabel', 'set') then
    grant ragecho_relabel to current_user with set true, inherit false;
  end if;
end
$$;
grant usage on schema public to ragecho_relabel;

-- Whose addresses are the organisation's own: members with a confirmed address in one of these are internal, all others
-- external; with none listed every member is internal. Not unique across tenants: that would tell one about another.
create table organization_domains (
  organization_id uuid not null references organizations on delete cascade,
  domain          text not null check (domain = lower(domain) and domain ~ '^[a-z0-9-]+(\.[a-z0-9-]+)+$'),
  created_by      uuid references users on delete set null,
  created_at      timestamptz not null default now(),
  primary key (organization_id, domain)
);
alter table organization_domains enable row level security, force row level security;
create policy tenant on organization_domains to ragecho_app using (organization_id = (select ragecho_organization()));
create policy login on organization_domains for select to ragecho_login using (true);
grant select, insert, delete on organization_domains to ragecho_app;
grant select on organization_domains to ragecho_login;

-- Who may read a document besides those its access level names. `documents.readers` and the chunks' copies of it are made
-- of the level, the owner and these rows, in the transaction that changes any of them.
create table document_grants (
  organization_id uuid not null,
  workspace_id    uuid not null,
  document_id     uuid not null,
  principal       text not null check (principal ~ '^(user|group|service|key):.'),
  granted_by      text, -- a principal; null for Echo's own workers
  created_at      timestamptz not null default now(),
  primary key (workspace_id, document_id, principal),
  foreign key (workspace_id, document_id) references documents on delete cascade,
  foreign key (organization_id, workspace_id) references workspaces (organization_id, id) on delete cascade
);
create index document_grants_principal on document_grants (organization_id, principal);
alter table document_grants enable row level security, force row level security;
create policy readable on document_grants to ragecho_app
  using (workspace_id = (select ragecho_workspace())
         and exists (select from documents d where d.workspace_id = document_grants.workspace_id
                     and d.id = document_grants.document_id))
  with check (workspace_id = (select ragecho_workspace()) and organization_id = (select ragecho_organization()));
grant select, insert, delete on document_grants to ragecho_app;
create trigger refuse_when_archived before insert or update or delete on document_grants
  for each statement execute function ragecho_refuse_when_archived();

-- A group, member or service account is gone: so are its grants, and its name on documents and chunks. Nobody carries that
-- principal from then on anyway; this keeps lists of readers true. An owner's name stays on what the owner owns.
create function ragecho_forget_principal() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, public
as $$
declare
  gone constant text := tg_argv[0] || ':' || case tg_argv[0] when 'user' then to_jsonb(old) ->> 'user_id' else to_jsonb(old) ->> 'id' end;
  writable constant text := current_setting('ragecho.writable_workspace', true);
  workspace uuid;
  named uuid[];
begin
  -- The workspaces concerned may be archived; this is not a change that their archive forbids.
  perform set_config('ragecho.writable_workspace', coalesce(ragecho_workspace()::text, ''), true);
  for workspace in
    select distinct g.workspace_id from document_grants g
    where g.organization_id = old.organization_id and g.principal = gone order by g.workspace_id
  loop
    perform pg_advisory_xact_lock(hashtextextended(workspace::text, 1)); -- the index's lock, as everywhere (store_chunks)
    with deleted as (
      delete from document_grants g where g.workspace_id = workspace and g.principal = gone returning g.document_id
    )
    select array_agg(d.id) into named from documents d join deleted on deleted.document_id = d.id
    where d.workspace_id = workspace and 'user:' || d.owner_id is distinct from gone;
    update documents set readers = array_remove(readers, gone) where workspace_id = workspace and id = any (named);
    update chunks set readers = array_remove(readers, gone) where workspace_id = workspace and document_id = any (named);
    update chunk_vectors set readers = array_remove(readers, gone) where workspace_id = workspace and document_id = any (named);
    update chunk_terms set readers = array_remove(readers, gone) where workspace_id = workspace and document_id = any (named);
    update index_statistics set version = version + 1 where workspace_id = workspace;
  end loop;
  perform set_config('ragecho.writable_workspace', coalesce(writable, ''), true);
  return null;
end
$$;
do $$
declare
  t text;
begin
  foreach t in array array['documents', 'chunks', 'chunk_vectors', 'chunk_terms', 'index_statistics', 'document_grants'] loop
    execute format('create policy relabel on %I to ragecho_relabel using (true)', t);
  end loop;
end
$$;
grant select (workspace_id, id, owner_id, readers), update (readers) on documents to ragecho_relabel;
grant select (workspace_id, document_id, readers), update (readers) on chunks, chunk_vectors, chunk_terms to ragecho_relabel;
grant select (workspace_id, version), update (version) on index_statistics to ragecho_relabel;
grant select, delete on document_grants to ragecho_relabel;
grant create on schema public to ragecho_relabel;
alter function ragecho_forget_principal owner to ragecho_relabel;
revoke create on schema public from ragecho_relabel;
revoke execute on function ragecho_forget_principal from public;
create trigger forget_principal after delete on groups
  for each row execute function ragecho_forget_principal('group');
create trigger forget_principal after delete on organization_members
  for each row execute function ragecho_forget_principal('user');
create trigger forget_principal after delete on service_accounts
  for each row execute function ragecho_forget_principal('service');

-- Every request reads a person's groups.
drop index group_members_user;
create index group_members_user on group_members (organization_id, user_id) include (group_id);

-- What a person is in a workspace now; no row for who is not in it, suspended, disabled or gone. Not a definer itself: the
-- functions below are, and the planner puts this into their statements.
create function ragecho_standing(in_organization uuid, in_workspace uuid, person uuid)
returns table (organization_role text, workspace_role text, is_internal boolean, group_ids uuid[])
language sql stable
as $$
  select m.role,
         case when m.role in ('owner', 'admin') then 'admin' else wm.role end,
         not exists (select from organization_domains d where d.organization_id = m.organization_id)
         or (u.email_verified_at is not null
             and exists (select from organization_domains d where d.organization_id = m.organization_id
                         and d.domain = lower(substring(u.email from '[^@]*$')))),
         array(select g.group_id from group_members g
               where g.organization_id = m.organization_id and g.user_id = m.user_id order by g.group_id)
  from organization_members m
  join users u on u.id = m.user_id
  left join workspace_members wm on wm.organization_id = m.organization_id and wm.workspace_id = in_workspace
    and wm.user_id = m.user_id
  where m.organization_id = in_organization and m.user_id = person and m.suspended_at is null
    and not u.is_disabled and u.deleted_at is null and (m.role in ('owner', 'admin') or wm.user_id is not null)
$$;

-- The following run at every request. Each is a few index look-ups (17 to 27 pages, 0.09 ms); planning them for the values of
-- the moment, as the server would the first five times, costs ten times that, hence plan_cache_mode.

-- Whether what a person allowed a client counts at this moment: not revoked or over, and, unless it was to last
-- (offline_access), not of a browser session that was ended, remotely or by a new password. Not a definer, like the one above.
create function ragecho_is_live_grant(wanted uuid, person uuid) returns boolean
language sql stable
as $$
  select exists (
    select from identity_grants g join identity_clients c on c.id = g.client_id
    where g.id = wanted and g.user_id = person and g.revoked_at is null and g.expires_at > now() and c.disabled_at is null
      and ('offline_access' = any (g.scopes)
           or not exists (select from identity_sessions s where s.id = g.session_id and s.ended_at is not null)))
$$;
grant select (id) on identity_sessions to ragecho_login;

-- A service client may act as a service account: with its roles, while it is not disabled.
alter table identity_clients
  add column service_account_id uuid,
  add constraint identity_clients_service_account
    foreign key (organization_id, service_account_id) references service_accounts on delete cascade,
  add constraint identity_clients_acts_somewhere check (service_account_id is null or organization_id is not null);
create index identity_clients_of_service_account on identity_clients (organization_id, service_account_id)
  where service_account_id is not null;
grant select (service_account_id) on identity_clients to ragecho_login;
create policy identity on service_accounts for select to ragecho_identity using (true);
grant select (organization_id, id, workspace_id, name, is_disabled) on service_accounts to ragecho_identity;

-- Who calls with the API key of this digest. No row for keys that are unknown, expired or revoked, or whose person or
-- service account may not enter the key's workspace now. A key acts in the organisation as its own cap allows, and never as
-- more than its owner is; a key of nobody acts by its scopes, and its cap.
create function ragecho_caller_of_key(digest bytea)
returns table (
  key_id uuid, organization_id uuid, workspace_id uuid, workspace_slug text, is_archived boolean, user_id uuid,
  service_account_id uuid, scopes text[], organization_role text, workspace_role text, is_internal boolean, group_ids uuid[])
language plpgsql volatile security definer
set search_path = pg_catalog, public set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  key record;
  roles constant text[] := array['member', 'admin', 'owner'];
begin
  select k.id, k.organization_id, k.workspace_id, w.slug, w.status = 'archived' as is_archived, k.user_id,
         k.service_account_id, k.scopes, k.organization_role as cap, k.last_used_at,
         case when k.user_id is not null then s.organization_role
              when k.service_account_id is not null then a.organization_role
              else k.organization_role end as organization_role,
         case when k.user_id is not null then s.workspace_role
              when k.service_account_id is null then null
              when a.organization_role = 'admin' then 'admin'
              else a.workspace_role end as workspace_role,
         coalesce(s.is_internal, true) as is_internal, coalesce(s.group_ids, '{}') as group_ids
  into key
  from api_keys k
  join workspaces w on w.id = k.workspace_id
  left join lateral ragecho_standing(k.organization_id, k.workspace_id, k.user_id) s on k.user_id is not null
  left join service_accounts a on a.organization_id = k.organization_id and a.id = k.service_account_id
  where k.secret_sha256 = digest and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
    and (k.user_id is null or s.workspace_role is not null)
    and (k.service_account_id is null or (not a.is_disabled and (a.workspace_id is null or a.workspace_id = k.workspace_id)));
  if not found then
    return;
  end if;
  -- To the minute is exact enough, and keeps reads from writing.
  if key.last_used_at is null or key.last_used_at < now() - interval '1 minute' then
    update api_keys k set last_used_at = now() where k.id = key.id;
  end if;
  return query select key.id, key.organization_id, key.workspace_id, key.slug, key.is_archived, key.user_id,
    key.service_account_id, key.scopes,
    case when key.cap is not null and key.organization_role is not null
         then roles[least(array_position(roles, key.cap), array_position(roles, key.organization_role))] end,
    key.workspace_role, key.is_internal, key.group_ids;
end
$$;

-- Who an access token or a browser session stands for: a person (with the grant that the token came from, if any), or a
-- service client (with the service account that it acts as, if any), in the workspace that is wanted (id or slug), else in the one they joined first. `refusal` is null, or
-- unauthenticated (disabled, suspended, revoked, unknown), not_found (no such workspace for them), or ambiguous (a slug
-- that several of the person's organisations have).
create function ragecho_caller_of_subject(person uuid, client text, grant_id uuid, wanted text)
returns table (
  refusal text, organization_id uuid, workspace_id uuid, workspace_slug text, is_archived boolean,
  organization_role text, workspace_role text, is_internal boolean, group_ids uuid[], service_account_id uuid)
language plpgsql stable security definer
set search_path = pg_catalog, public set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  wanted_id constant uuid := case when wanted ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then wanted::uuid end;
  named constant uuid := grant_id;
  found_workspaces uuid[];
begin
  if named is not null and not ragecho_is_live_grant(named, person) then
    return query select 'unauthenticated', null::uuid, null::uuid, null, null::boolean, null, null, null::boolean, null::uuid[], null::uuid;
    return;
  end if;

  if person is null then
    return query
      select case when wanted is null or wanted in (w.id::text, w.slug) then null else 'not_found' end,
             w.organization_id, w.id, w.slug, w.status = 'archived', a.organization_role,
             case when a.organization_role = 'admin' then 'admin' else a.workspace_role end, true, '{}'::uuid[], a.id
      from identity_clients c join workspaces w on w.organization_id = c.organization_id and w.id = c.workspace_id
      left join service_accounts a on a.organization_id = c.organization_id and a.id = c.service_account_id
      where c.id = client and c.disabled_at is null
        and (c.service_account_id is null
             or (not a.is_disabled and (a.workspace_id is null or a.workspace_id = c.workspace_id)));
    if not found then
      return query select 'unauthenticated', null::uuid, null::uuid, null, null::boolean, null, null, null::boolean, null::uuid[], null::uuid;
    end if;
    return;
  end if;

  if wanted_id is not null then
    found_workspaces := array[wanted_id];
  elsif wanted is not null then
    select array_agg(w.id) into found_workspaces
    from organization_members m
    join workspaces w on w.organization_id = m.organization_id and w.slug = wanted
    cross join lateral ragecho_standing(m.organization_id, w.id, person) s
    where m.user_id = person;
    if cardinality(found_workspaces) > 1 then
      return query select 'ambiguous', null::uuid, null::uuid, null, null::boolean, null, null, null::boolean, null::uuid[], null::uuid;
      return;
    end if;
  else
    -- The one joined first, rather one that is in use; who administers without having joined any gets the oldest.
    select array[first.id] into found_workspaces from (
      select w.id from organization_members m
      join workspace_members wm on wm.organization_id = m.organization_id and wm.user_id = m.user_id
      join workspaces w on w.organization_id = wm.organization_id and w.id = wm.workspace_id
      where m.user_id = person and m.suspended_at is null
      order by w.status = 'archived', wm.created_at, w.id limit 1) first;
    if found_workspaces is null then
      -- Two looks along the index, not a sort of all workspaces.
      select array[coalesce(used.id, archived.id)] into found_workspaces from organization_members m
      left join lateral (
        select w.id from workspaces w where w.organization_id = m.organization_id and w.status = 'active'
        order by w.created_at, w.id limit 1) used on true
      left join lateral (
        select w.id from workspaces w where w.organization_id = m.organization_id and w.status = 'archived' and used.id is null
        order by w.created_at, w.id limit 1) archived on true
      where m.user_id = person and m.suspended_at is null and m.role in ('owner', 'admin')
        and coalesce(used.id, archived.id) is not null
      order by used.id is null, m.created_at, m.organization_id limit 1;
    end if;
  end if;

  return query
    select null, w.organization_id, w.id, w.slug, w.status = 'archived', s.organization_role, s.workspace_role,
           s.is_internal, s.group_ids, null::uuid
    from workspaces w cross join lateral ragecho_standing(w.organization_id, w.id, person) s
    where w.id = any (found_workspaces);
  if not found then
    -- Who is disabled, or suspended wherever they are a member, has no standing at all; others just not in that place.
    return query
      select case when u.id is null or u.is_disabled or u.deleted_at is not null
                       or (exists (select from organization_members m where m.user_id = person)
                           and not exists (select from organization_members m
                                           where m.user_id = person and m.suspended_at is null))
                  then 'unauthenticated' else 'not_found' end,
             null::uuid, null::uuid, null, null::boolean, null, null, null::boolean, null::uuid[], null::uuid
      from (values (person)) p (id) left join users u on u.id = p.id;
  end if;
end
$$;

-- The principals that the caller of this transaction has at this moment, for the check before a prompt and while an answer is
-- written: null when the credential does not count any more or the person may not be here. `person`, `key` and `grant_id` are
-- the caller's; where all are null the settings' own principals stand.
create function ragecho_present_principals(person uuid, key uuid, grant_id uuid)
returns text[]
language plpgsql stable security definer
set search_path = pg_catalog, public set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  named_key constant uuid := key;
  named_grant constant uuid := grant_id;
  present text[];
begin
  if named_key is not null and not exists (
      select from api_keys k left join service_accounts a
        on a.organization_id = k.organization_id and a.id = k.service_account_id
      where k.id = named_key and k.organization_id = ragecho_organization() and k.workspace_id = ragecho_workspace()
        and k.revoked_at is null and (k.expires_at is null or k.expires_at > now()) and not coalesce(a.is_disabled, false)) then
    return null;
  end if;
  if named_grant is not null and not ragecho_is_live_grant(named_grant, person) then
    return null;
  end if;
  if person is null then
    return ragecho_principals();
  end if;
  select array['workspace', 'user:' || person, case when s.is_internal then 'level:internal' else 'level:external' end]
         || array(select 'group:' || g from unnest(s.group_ids) g)
  into present
  from ragecho_standing(ragecho_organization(), ragecho_workspace(), person) s;
  return present;
end
$$;

create policy login on group_members for select to ragecho_login using (true);
grant select on group_members to ragecho_login;

drop function ragecho_authenticate_api_key;
grant create on schema public to ragecho_login;
alter function ragecho_standing owner to ragecho_login;
alter function ragecho_is_live_grant owner to ragecho_login;
alter function ragecho_caller_of_key owner to ragecho_login;
alter function ragecho_caller_of_subject owner to ragecho_login;
alter function ragecho_present_principals owner to ragecho_login;
revoke create on schema public from ragecho_login;
revoke execute on function ragecho_standing, ragecho_is_live_grant, ragecho_caller_of_key, ragecho_caller_of_subject, ragecho_present_principals
  from public;
grant execute on function ragecho_caller_of_key, ragecho_caller_of_subject, ragecho_present_principals to ragecho_app;
