-- Accounts: passwords, second factors, passkeys, sessions, mail, throttling.
-- What is secret stands here as a digest (high-entropy values), as argon2id (passwords) or sealed by the vault.

alter table users
  add column email_verified_at timestamptz,
  add column locale            text,
  add column zoneinfo          text,
  add column updated_at        timestamptz not null default now(),
  add column deleted_at        timestamptz; -- the row stays, so that the audit log's ids lead somewhere, but says nothing

create table identity_passwords (
  user_id    uuid primary key references users on delete cascade,
  hash       text not null,
  changed_at timestamptz not null default now()
);
-- The migrating user owns the table but is not exempt from its policies while they are forced.
alter table users no force row level security;
insert into identity_passwords (user_id, hash) select id, password_hash from users where password_hash is not null;
alter table users force row level security;
alter table users drop column password_hash;

-- Signed-in browsers. ended_at is how everything that hangs on a session (grants, back-channel logout) learns of its end.
create table identity_sessions (
  id               uuid primary key,
  user_id          uuid not null references users on delete cascade,
  secret_sha256    bytea not null unique,
  authenticated_at timestamptz not null,
  amr              text[] not null,
  acr              text not null,
  created_at       timestamptz not null default now(),
  last_seen_at     timestamptz not null default now(),
  expires_at       timestamptz not null, -- whatever happens
  idle_seconds     integer not null,     -- and when unused for this long
  user_agent       text,
  ip               text,
  ended_at         timestamptz,
  end_reason       text check (end_reason in (
    'signed_out', 'signed_out_remotely', 'password_changed', 'suspended', 'account_deleted', 'replaced'))
);
create index identity_sessions_live on identity_sessions (user_id, last_seen_at desc) where ended_at is null;
create index identity_sessions_ended on identity_sessions (ended_at) where ended_at is not null;

-- Browsers that have signed in before: what an attacker does elsewhere does not slow them down.
create table identity_devices (
  id            uuid primary key,
  user_id       uuid not null references users on delete cascade,
  secret_sha256 bytea not null unique,
  last_used_at  timestamptz not null default now(),
  expires_at    timestamptz not null
);
create index identity_devices_user on identity_devices (user_id);

-- A password was right and a second factor is awaited.
create table identity_login_tickets (
  secret_sha256 bytea primary key,
  user_id       uuid not null references users on delete cascade,
  amr           text[] not null,
  attempts      integer not null default 0,
  expires_at    timestamptz not null,
  used_at       timestamptz
);

-- Links in mails: registration, confirmation of an address, reset, change of address; and the first administrator's.
create table identity_links (
  secret_sha256   bytea primary key,
  kind            text not null check (kind in (
    'registration', 'verify_email', 'reset_password', 'change_email', 'invitation_mail', 'first_administrator')),
  user_id         uuid references users on delete cascade,
  email           text,
  organization_id uuid references organizations on delete cascade,
  created_at      timestamptz not null default now(),
  expires_at      timestamptz not null,
  used_at         timestamptz
);
create index identity_links_user on identity_links (user_id, kind) where used_at is null;

create table identity_totp (
  user_id        uuid primary key references users on delete cascade,
  secret_sealed  text not null,
  last_step      bigint not null default 0, -- a code works once (RFC 6238, 5.2)
  created_at     timestamptz not null default now(),
  confirmed_at   timestamptz
);

create table identity_passkeys (
  id             uuid primary key,
  user_id        uuid not null references users on delete cascade,
  credential_id  bytea not null unique,
  public_key     bytea not null,
  sign_count     bigint not null default 0,
  transports     text[] not null default '{}',
  is_synced      boolean not null default false,
  aaguid         text,
  name           text not null,
  created_at     timestamptz not null default now(),
  last_used_at   timestamptz
);
create index identity_passkeys_user on identity_passkeys (user_id);

create table identity_passkey_challenges (
  id         uuid primary key,
  challenge  bytea not null,
  purpose    text not null check (purpose in ('register', 'sign_in', 'second_factor')),
  user_id    uuid references users on delete cascade,
  expires_at timestamptz not null,
  used_at    timestamptz
);

create table identity_recovery_codes (
  user_id    uuid not null references users on delete cascade,
  code_sha256 bytea not null,
  created_at timestamptz not null default now(),
  used_at    timestamptz,
  primary key (user_id, code_sha256)
);

-- Failed attempts by account and address, by the digest of what they are counted for.
create table identity_throttle (
  key           bytea primary key,
  failures      double precision not null, -- forgiven little by little
  last_at       timestamptz not null,
  blocked_until timestamptz not null
);
create index identity_throttle_last on identity_throttle (last_at);

-- Mail to be sent. The body is sealed, and cleared once it is sent: it holds links that work.
create table identity_outbox (
  id              uuid primary key,
  recipient       text not null,
  template        text not null,
  subject         text not null,
  body_sealed     text,
  created_at      timestamptz not null default now(),
  next_attempt_at timestamptz not null default now(),
  attempts        integer not null default 0,
  sent_at         timestamptz,
  failed_at       timestamptz,
  last_error      text
);
create index identity_outbox_due on identity_outbox (next_attempt_at) where sent_at is null and failed_at is null;

do $$
declare
  t text;
begin
  foreach t in array array['identity_passwords', 'identity_sessions', 'identity_devices', 'identity_login_tickets',
      'identity_links', 'identity_totp', 'identity_passkeys', 'identity_passkey_challenges', 'identity_recovery_codes',
      'identity_throttle', 'identity_outbox'] loop
    execute format('alter table %I enable row level security, force row level security', t);
    execute format('create policy identity on %I to ragecho_identity using (true)', t);
    execute format('grant select, insert, update, delete on %I to ragecho_identity', t);
  end loop;
end
$$;
create policy identity on users to ragecho_identity using (true);
create policy identity on organization_members to ragecho_identity using (true);
create policy identity on organizations for select to ragecho_identity using (true);
grant select, insert, update on users to ragecho_identity;
-- Whether an address is confirmed and whether somebody may sign in is the identity service's to change. The application adds
-- the people of a directory (SCIM), whose addresses and names it keeps.
revoke insert, update, delete on users from ragecho_app;
grant insert (id, email, name, email_verified_at), update (email, name, updated_at) on users to ragecho_app;
grant select, insert, delete on organization_members to ragecho_identity;
grant select on organizations to ragecho_identity;

-- Suspension ends sessions whoever decides it, also the application, which may not read them. Coming back does not revive
-- them. Keys and refresh tokens are refused while is_disabled is set.
create function ragecho_end_sessions_of_suspended() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, public
as $$
begin
  update identity_sessions set ended_at = now(), end_reason = 'suspended' where user_id = new.id and ended_at is null;
  update identity_login_tickets set used_at = now() where user_id = new.id and used_at is null;
  update identity_links set used_at = now() where user_id = new.id and used_at is null;
  return new;
end
$$;
create policy suspend on identity_sessions to ragecho_login using (true);
create policy suspend on identity_login_tickets to ragecho_login using (true);
create policy suspend on identity_links to ragecho_login using (true);
grant select (user_id, ended_at), update (ended_at, end_reason) on identity_sessions to ragecho_login;
grant select (user_id, used_at), update (used_at) on identity_login_tickets, identity_links to ragecho_login;
grant create on schema public to ragecho_login;
alter function ragecho_end_sessions_of_suspended owner to ragecho_login;
revoke create on schema public from ragecho_login;
revoke execute on function ragecho_end_sessions_of_suspended from public;
create trigger end_sessions_of_suspended after update of is_disabled on users
  for each row when (new.is_disabled and not old.is_disabled) execute function ragecho_end_sessions_of_suspended();
