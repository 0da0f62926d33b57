-- Tenancy: workspace members, groups, invitations, service accounts, archive, audit log.

-- A name that is taken would tell one tenant about another.
alter table organizations
  drop constraint organizations_slug_key,
  add column updated_at timestamptz not null default now(),
  -- members sign in with two factors, and set the second one up where they have none
  add column require_second_factor boolean not null default false;

alter table organization_members
  add column suspended_at timestamptz, -- within this organisation; users.is_disabled is the person everywhere
  add column updated_at   timestamptz not null default now();
create index organization_members_user on organization_members (user_id);

alter table workspaces
  add constraint workspaces_of_organization unique (organization_id, id), -- what composite foreign keys refer to
  add column archived_at timestamptz,
  add constraint workspaces_archived check ((status = 'archived') = (archived_at is not null));
create index workspaces_newest on workspaces (organization_id, created_at desc, id desc);

-- Composite foreign keys: no row can join a person, group or workspace of two organisations.
create table workspace_members (
  organization_id uuid not null,
  workspace_id    uuid not null,
  user_id         uuid not null,
  role            text not null check (role in ('reader', 'editor', 'admin')),
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  primary key (organization_id, workspace_id, user_id),
  foreign key (organization_id, workspace_id) references workspaces (organization_id, id) on delete cascade,
  foreign key (organization_id, user_id) references organization_members on delete cascade
);
create index workspace_members_user on workspace_members (organization_id, user_id);

create table groups (
  organization_id uuid not null references organizations on delete cascade,
  id              uuid not null,
  name            text not null,
  description     text not null default '',
  external_id     text, -- what a directory (SCIM) calls it
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  primary key (organization_id, id)
);
create unique index groups_name on groups (organization_id, lower(name));

create table group_members (
  organization_id uuid not null,
  group_id        uuid not null,
  user_id         uuid not null,
  created_at      timestamptz not null default now(),
  primary key (organization_id, group_id, user_id),
  foreign key (organization_id, group_id) references groups on delete cascade,
  foreign key (organization_id, user_id) references organization_members on delete cascade
);
create index group_members_user on group_members (organization_id, user_id);

create table invitations (
  organization_id uuid not null references organizations on delete cascade,
  id              uuid not null,
  email           text not null,
  role            text not null check (role in ('owner', 'admin', 'member')),
  invited_by      uuid references users on delete set null,
  created_at      timestamptz not null default now(),
  expires_at      timestamptz not null,
  accepted_at     timestamptz,
  accepted_by     uuid references users on delete set null,
  revoked_at      timestamptz,
  primary key (organization_id, id)
);
create unique index invitations_open on invitations (organization_id, lower(email))
  where accepted_at is null and revoked_at is null;

create table invitation_workspaces (
  organization_id uuid not null,
  invitation_id   uuid not null,
  workspace_id    uuid not null,
  role            text not null check (role in ('reader', 'editor', 'admin')),
  primary key (organization_id, invitation_id, workspace_id),
  foreign key (organization_id, invitation_id) references invitations on delete cascade,
  foreign key (organization_id, workspace_id) references workspaces (organization_id, id) on delete cascade
);

-- The secrets of the links that lead to an invitation: the one shown when it was made, and the ones that were mailed.
create table invitation_tokens (
  organization_id uuid not null,
  invitation_id   uuid not null,
  secret_sha256   bytea not null primary key,
  created_at      timestamptz not null default now(),
  foreign key (organization_id, invitation_id) references invitations on delete cascade
);
create index invitation_tokens_invitation on invitation_tokens (organization_id, invitation_id);

-- Mail to be sent by the identity service. It holds no link: whoever sends the mail makes the secret then, and hands in
-- its digest (ragecho_claim_invitation_mail), so that nothing stored here opens anything.
create table invitation_mails (
  organization_id uuid not null,
  id              uuid not null,
  invitation_id   uuid not null,
  created_at      timestamptz not null default now(),
  claimed_at      timestamptz,
  attempts        integer not null default 0,
  sent_at         timestamptz,
  failed_at       timestamptz,
  primary key (organization_id, id),
  foreign key (organization_id, invitation_id) references invitations on delete cascade
);
create index invitation_mails_due on invitation_mails (created_at) where sent_at is null and failed_at is null;

-- Programs. Bound to one workspace, or to the whole organisation: then workspace_role is its role in every workspace.
create table service_accounts (
  organization_id   uuid not null references organizations on delete cascade,
  id                uuid not null,
  workspace_id      uuid,
  name              text not null,
  description       text not null default '',
  organization_role text check (organization_role in ('admin', 'member')),
  workspace_role    text check (workspace_role in ('reader', 'editor', 'admin')),
  is_disabled       boolean not null default false,
  created_by        uuid references users on delete set null,
  created_at        timestamptz not null default now(),
  updated_at        timestamptz not null default now(),
  primary key (organization_id, id),
  foreign key (organization_id, workspace_id) references workspaces (organization_id, id) on delete cascade,
  check (case when workspace_id is null then organization_role is not null
              else organization_role is null and workspace_role is not null end)
);
create unique index service_accounts_name on service_accounts (organization_id, lower(name));

alter table api_keys
  add column organization_role  text check (organization_role in ('owner', 'admin', 'member')), -- the most it may act as
  add column service_account_id uuid,
  add column created_by         uuid references users on delete set null,
  add column replaces           uuid, -- the key that was rotated into this one
  add column rotated_at         timestamptz,
  add constraint api_keys_one_owner check (num_nonnulls(user_id, service_account_id) <= 1),
  add constraint api_keys_service_account
    foreign key (organization_id, service_account_id) references service_accounts on delete cascade;
create index api_keys_user on api_keys (organization_id, user_id) where user_id is not null;
create index api_keys_of_service_account on api_keys (organization_id, service_account_id)
  where service_account_id is not null;

-- Who did what. Written in the transaction of the act; nobody who runs Echo may change or remove a line. No foreign keys:
-- it outlives what it speaks of.
create table audit_events (
  organization_id uuid not null,
  id              uuid not null, -- UUIDv7: its order is the order of time
  workspace_id    uuid,
  at              timestamptz not null default now(),
  action          text not null check (action ~ '^[a-z_]+(\.[a-z_]+)+$'),
  actor_kind      text not null check (actor_kind in ('user', 'api_key', 'service_account', 'client', 'system')),
  actor_id        text,
  actor_user_id   uuid,
  api_key_id      uuid,
  client_id       text,
  target_kind     text not null,
  target_id       text,
  request_id      text,
  reason          text,
  details         jsonb not null default '{}',
  ip              text,
  primary key (organization_id, id)
);
create index audit_events_workspace on audit_events (organization_id, workspace_id, id desc);
create index audit_events_action on audit_events (organization_id, action, id desc);
create index audit_events_request on audit_events (organization_id, request_id) where request_id is not null;
create index audit_events_actor on audit_events (organization_id, actor_user_id, id desc) where actor_user_id is not null;

do $$
declare
  t text;
begin
  foreach t in array array['workspace_members', 'groups', 'group_members', 'invitations', 'invitation_workspaces',
      'invitation_tokens', 'invitation_mails', 'service_accounts', 'audit_events'] loop
    execute format('alter table %I enable row level security, force row level security', t);
    execute format('create policy tenant on %I to ragecho_app using (organization_id = (select ragecho_organization()))', t);
  end loop;
end
$$;
grant select, insert, update, delete on workspace_members, groups, group_members, invitations, invitation_workspaces,
  invitation_tokens, invitation_mails, service_accounts to ragecho_app;
grant select, insert on audit_events to ragecho_app;

-- The identity service writes into the log as well (sign-in through an organisation's provider, directory changes).
create policy record on audit_events for insert to ragecho_identity with check (true);
grant insert on audit_events to ragecho_identity;

-- An organisation keeps an owner who can act, whoever changes memberships and however many do so at once: the
-- organisation's row is locked, so the second of two sees what the first one left.
create function ragecho_keep_an_owner() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, public
as $$
begin
  perform from organizations where id = old.organization_id for no key update;
  if found and not exists (
      select from organization_members m join users u on u.id = m.user_id
      where m.organization_id = old.organization_id and m.role = 'owner' and m.suspended_at is null and not u.is_disabled) then
    raise exception 'the last owner of an organisation' using errcode = 'EC002';
  end if;
  return null;
end
$$;
create trigger keep_an_owner_on_update after update on organization_members
  for each row when (old.role = 'owner' and (new.role <> 'owner' or new.suspended_at is not null))
  execute function ragecho_keep_an_owner();
create trigger keep_an_owner_on_delete after delete on organization_members
  for each row when (old.role = 'owner') execute function ragecho_keep_an_owner();

-- An archived workspace refuses writes here too, not only in the application. Writers share a lock that archiving takes
-- alone: what has begun is finished first, what comes later sees the archive. Once asked, the answer holds for the rest of
-- the transaction, so that a thousand chunks cost one look. Attach it `before insert or update or delete … for each statement`.
create function ragecho_refuse_when_archived() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, public
as $$
declare
  workspace constant uuid := ragecho_workspace();
begin
  if workspace is null or current_setting('ragecho.writable_workspace', true) = workspace::text then
    return null;
  end if;
  perform pg_advisory_xact_lock_shared(hashtextextended(workspace::text, 4));
  perform from workspaces where id = workspace and status = 'archived';
  if found then
    raise exception 'the workspace is archived' using errcode = 'EC001';
  end if;
  perform set_config('ragecho.writable_workspace', workspace::text, true);
  return null;
end
$$;
do $$
declare
  t text;
begin
  foreach t in array array['documents', 'document_versions', 'chunks', 'chunk_vectors', 'chunk_terms', 'jobs'] loop
    execute format('create trigger refuse_when_archived before insert or update or delete on %I'
      ' for each statement execute function ragecho_refuse_when_archived()', t);
  end loop;
end
$$;

-- The organisations a person is in, across tenants: of the person whom the transaction's own settings name.
create function ragecho_organizations_of(person uuid)
returns table (
  organization_id uuid, name text, role text, suspended_at timestamptz, created_at timestamptz, require_second_factor boolean)
language sql stable security definer
set search_path = pg_catalog, public
as $$
  select o.id, o.name, m.role, m.suspended_at, o.created_at, o.require_second_factor
  from organization_members m join organizations o on o.id = m.organization_id
  where m.user_id = person and 'user:' || person = any (ragecho_principals())
  order by m.created_at, o.id
$$;

-- Invitations, by the digest of the secret in a link; for the identity service, whose pages people accept them on.
-- No row when it is unknown, revoked, accepted or expired.
create function ragecho_find_invitation(digest bytea)
returns table (organization_id uuid, organization_name text, email text, role text, expires_at timestamptz)
language sql stable security definer
set search_path = pg_catalog, public
as $$
  select o.id, o.name, i.email, i.role, i.expires_at
  from invitation_tokens t
  join invitations i on i.organization_id = t.organization_id and i.id = t.invitation_id
  join organizations o on o.id = i.organization_id
  where t.secret_sha256 = digest and i.accepted_at is null and i.revoked_at is null and i.expires_at > now()
$$;

-- Make the person a member, with the workspace roles of the invitation, once. `outcome` is accepted, unknown (also: used,
-- revoked, expired), unverified (the person's address is not confirmed), other_address, or suspended (in that organisation).
-- A member keeps the higher of two roles.
create function ragecho_accept_invitation(digest bytea, user_id uuid)
returns table (outcome text, organization_id uuid)
language plpgsql volatile security definer
set search_path = pg_catalog, public
as $$
#variable_conflict use_column
declare
  person constant uuid := user_id;
  invitation record;
  account record;
  org_roles constant text[] := array['member', 'admin', 'owner'];
  workspace_roles constant text[] := array['reader', 'editor', 'admin'];
begin
  select i.* into invitation
  from invitation_tokens t join invitations i on i.organization_id = t.organization_id and i.id = t.invitation_id
  where t.secret_sha256 = digest
  for update of i;
  if not found or invitation.accepted_at is not null or invitation.revoked_at is not null or invitation.expires_at <= now() then
    return query select 'unknown', null::uuid;
    return;
  end if;
  select u.email, u.email_verified_at into account from users u where u.id = person and not u.is_disabled;
  if not found or lower(account.email) <> lower(invitation.email) then
    return query select 'other_address', null::uuid;
    return;
  end if;
  if account.email_verified_at is null then
    return query select 'unverified', null::uuid;
    return;
  end if;
  perform from organization_members m
    where m.organization_id = invitation.organization_id and m.user_id = person and m.suspended_at is not null;
  if found then
    return query select 'suspended', null::uuid;
    return;
  end if;

  insert into organization_members as m (organization_id, user_id, role)
  values (invitation.organization_id, person, invitation.role)
  on conflict (organization_id, user_id) do update set updated_at = now(),
    role = case when array_position(org_roles, excluded.role) > array_position(org_roles, m.role)
                then excluded.role else m.role end;
  insert into workspace_members as m (organization_id, workspace_id, user_id, role)
  select w.organization_id, w.workspace_id, person, w.role from invitation_workspaces w
  where w.organization_id = invitation.organization_id and w.invitation_id = invitation.id
  on conflict (organization_id, workspace_id, user_id) do update set updated_at = now(),
    role = case when array_position(workspace_roles, excluded.role) > array_position(workspace_roles, m.role)
                then excluded.role else m.role end;
  update invitations i set accepted_at = now(), accepted_by = person
    where i.organization_id = invitation.organization_id and i.id = invitation.id;
  delete from invitation_tokens t
    where t.organization_id = invitation.organization_id and t.invitation_id = invitation.id;
  insert into audit_events (organization_id, id, action, actor_kind, actor_id, actor_user_id, target_kind, target_id, details)
  values (invitation.organization_id, ragecho_uuid7(), 'invitation.accepted', 'user', person::text, person, 'invitation',
          invitation.id::text, jsonb_build_object('role', invitation.role));
  return query select 'accepted', invitation.organization_id;
end
$$;

-- Ids made inside the database; the application makes its own (kernel/ids.py). RFC 9562, 5.7.
create function ragecho_uuid7() returns uuid language sql volatile
return encode(
  set_bit(set_bit(
    overlay(uuid_send(gen_random_uuid()) placing
      substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
    52, 1), 53, 1), 'hex')::uuid;

-- Take the oldest mail about an invitation that waits to be sent, and let the digest's secret open that invitation.
-- Whoever took it and did not finish loses it to another after five minutes.
create function ragecho_claim_invitation_mail(digest bytea)
returns table (mail_id uuid, email text, organization_name text, inviter text, role text, expires_at timestamptz)
language plpgsql volatile security definer
set search_path = pg_catalog, public
as $$
#variable_conflict use_column
declare
  mail record;
begin
  select q.organization_id, q.id, q.invitation_id, i.email, o.name as organization_name, coalesce(u.name, u.email) as inviter,
         i.role, i.expires_at
  into mail
  from invitation_mails q
  join invitations i on i.organization_id = q.organization_id and i.id = q.invitation_id
  join organizations o on o.id = q.organization_id
  left join users u on u.id = i.invited_by
  where q.sent_at is null and q.failed_at is null
    and (q.claimed_at is null or q.claimed_at < now() - interval '5 minutes')
    and i.accepted_at is null and i.revoked_at is null and i.expires_at > now()
  order by q.created_at, q.id limit 1
  for update of q skip locked;
  if not found then
    return;
  end if;
  update invitation_mails q set claimed_at = now(), attempts = q.attempts + 1
    where q.organization_id = mail.organization_id and q.id = mail.id;
  insert into invitation_tokens (organization_id, invitation_id, secret_sha256)
    values (mail.organization_id, mail.invitation_id, digest);
  return query select mail.id, mail.email, mail.organization_name, mail.inviter, mail.role, mail.expires_at;
end
$$;

-- Say that a claimed mail was sent, or has failed for good.
create function ragecho_finish_invitation_mail(mail_id uuid, is_sent boolean) returns void
language sql volatile security definer
set search_path = pg_catalog, public
as $$
  update invitation_mails q set sent_at = case when is_sent then now() end, failed_at = case when not is_sent then now() end
  where q.id = mail_id and q.sent_at is null and q.failed_at is null
$$;

do $$
declare
  t text;
begin
  foreach t in array array['organizations', 'organization_members', 'workspace_members', 'invitations',
      'invitation_workspaces', 'invitation_tokens', 'invitation_mails', 'service_accounts', 'audit_events'] loop
    execute format('create policy login on %I to ragecho_login using (true)', t);
  end loop;
end
$$;
grant select, update (updated_at) on organizations to ragecho_login; -- update: what a row lock needs
grant select on users, invitation_workspaces, service_accounts to ragecho_login;
grant select, insert, update on organization_members, workspace_members to ragecho_login;
grant select, update on invitations, invitation_mails to ragecho_login;
grant select, insert, delete on invitation_tokens to ragecho_login;
grant insert on audit_events to ragecho_login;

grant create on schema public to ragecho_login;
alter function ragecho_keep_an_owner owner to ragecho_login;
alter function ragecho_refuse_when_archived owner to ragecho_login;
alter function ragecho_organizations_of owner to ragecho_login;
alter function ragecho_find_invitation owner to ragecho_login;
alter function ragecho_accept_invitation owner to ragecho_login;
alter function ragecho_claim_invitation_mail owner to ragecho_login;
alter function ragecho_finish_invitation_mail owner to ragecho_login;
revoke create on schema public from ragecho_login;
revoke execute on function ragecho_keep_an_owner, ragecho_refuse_when_archived, ragecho_organizations_of,
  ragecho_find_invitation, ragecho_accept_invitation, ragecho_claim_invitation_mail, ragecho_finish_invitation_mail
  from public;
grant execute on function ragecho_organizations_of to ragecho_app;
grant execute on function ragecho_find_invitation, ragecho_accept_invitation, ragecho_claim_invitation_mail,
  ragecho_finish_invitation_mail to ragecho_identity;
