create table organizations (
  id         uuid primary key,
  slug       text not null unique,
  name       text not null,
  created_at timestamptz not null default now()
);

create table users (
  id            uuid primary key,
  email         text not null,
  name          text,
  password_hash text,
  is_disabled   boolean not null default false,
  created_at    timestamptz not null default now()
);
create unique index users_email on users (lower(email));

create table organization_members (
  organization_id uuid not null references organizations on delete cascade,
  user_id         uuid not null references users on delete cascade,
  role            text not null check (role in ('owner', 'admin', 'member')),
  created_at      timestamptz not null default now(),
  primary key (organization_id, user_id)
);

-- A space is what vectors may be compared within: model, revision, dimensions and chunking (decision 5). No tenant data.
create table embedding_spaces (
  id         uuid primary key,
  model      text not null,
  revision   text not null,
  dimensions integer not null check (dimensions between 1 and 4000),
  chunking   text not null,
  created_at timestamptz not null default now(),
  unique (model, revision, dimensions, chunking)
);

create table workspaces (
  id              uuid primary key,
  organization_id uuid not null references organizations on delete cascade,
  slug            text not null check (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  name            text not null,
  description     text not null default '',
  status          text not null default 'active' check (status in ('active', 'archived')),
  space_id        uuid not null references embedding_spaces,
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  unique (organization_id, slug)
);

create table api_keys (
  id              uuid primary key,
  organization_id uuid not null references organizations on delete cascade,
  workspace_id    uuid not null references workspaces on delete cascade,
  user_id         uuid references users on delete cascade,
  name            text not null,
  prefix          text not null,
  secret_sha256   bytea not null unique,
  scopes          text[] not null check (cardinality(scopes) > 0 and scopes <@ array['read', 'write', 'admin']),
  created_at      timestamptz not null default now(),
  expires_at      timestamptz,
  revoked_at      timestamptz,
  last_used_at    timestamptz
);
create index api_keys_workspace on api_keys (workspace_id, created_at desc);

-- From here on every key is led by workspace_id, and uniqueness never crosses workspaces.
create table documents (
  workspace_id       uuid not null references workspaces on delete cascade,
  id                 uuid not null,
  filename           text not null,
  title              text,
  content_type       text,
  size_bytes         bigint not null,
  sha256             text not null,
  status             text not null default 'queued' check (status in ('queued', 'processing', 'ready', 'failed')),
  error              jsonb,
  progress           real not null default 0 check (progress between 0 and 1),
  pages              integer,
  chunks             integer not null default 0,
  tags               text[] not null default '{}',
  metadata           jsonb not null default '{}',
  access             text not null check (access in ('private', 'workspace', 'internal', 'external')),
  owner_id           uuid references users on delete set null,
  readers            text[] not null,
  version            integer not null default 0,
  current_version_id uuid,
  created_at         timestamptz not null default now(),
  updated_at         timestamptz not null default now(),
  primary key (workspace_id, id)
);
create index documents_newest on documents (workspace_id, created_at desc, id desc);
create index documents_sha256 on documents (workspace_id, sha256);
create index documents_tags on documents using gin (tags);

create table document_versions (
  workspace_id   uuid not null,
  id             uuid not null,
  document_id    uuid not null,
  number         integer not null,
  filename       text not null,
  content_type   text,
  size_bytes     bigint not null,
  sha256         text not null,
  text           text,
  parsed         jsonb,
  parser_version text,
  created_at     timestamptz not null default now(),
  ready_at       timestamptz,
  primary key (workspace_id, id),
  unique (workspace_id, document_id, number),
  foreign key (workspace_id, document_id) references documents on delete cascade
);
create index document_versions_sha256 on document_versions (workspace_id, sha256);

create table jobs (
  workspace_id    uuid not null references workspaces on delete cascade,
  id              uuid not null,
  organization_id uuid not null,
  kind            text not null,
  queue           text not null,
  document_id     uuid,
  version_id      uuid,
  status          text not null default 'queued'
                  check (status in ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'dead')),
  stage           text,
  progress        real not null default 0,
  attempts        integer not null default 0,
  max_attempts    integer not null default 5,
  error           jsonb,
  trace           jsonb not null default '{}',
  queue_job_id    bigint,
  created_at      timestamptz not null default now(),
  started_at      timestamptz,
  finished_at     timestamptz,
  primary key (workspace_id, id),
  foreign key (workspace_id, document_id) references documents on delete cascade
);
create index jobs_newest on jobs (workspace_id, created_at desc, id desc);
create index jobs_open on jobs (workspace_id, status) where status in ('queued', 'running');
create index jobs_document on jobs (workspace_id, document_id);

-- The searchable pieces, in three narrow tables so that no scan drags along what it does not read (a row over 2 kB is
-- moved out of line). Hash partitions by workspace: small graphs, and the distribution key when one machine is not enough.
create table chunks (
  workspace_id uuid not null,
  id           uuid not null,
  document_id  uuid not null,
  version_id   uuid not null,
  space_id     uuid not null references embedding_spaces,
  readers      text[] not null,
  ordinal      integer not null,
  start_offset integer not null,
  end_offset   integer not null,
  page         integer,
  page_breaks  integer[] not null default '{}', -- offsets inside the chunk at which the following pages start
  heading_path text[] not null default '{}',
  tokens       integer not null,
  sha256       bytea not null,
  text         text not null,
  primary key (workspace_id, id),
  foreign key (workspace_id, document_id) references documents on delete cascade,
  check (end_offset > start_offset)
) partition by hash (workspace_id);

create table chunk_vectors (
  workspace_id uuid not null,
  chunk_id     uuid not null,
  document_id  uuid not null,
  space_id     uuid not null,
  readers      text[] not null,
  embedding    halfvec not null,
  primary key (workspace_id, chunk_id),
  foreign key (workspace_id, document_id) references documents on delete cascade
) partition by hash (workspace_id);

-- terms: distinct index terms, sorted; frequencies: how often each stands in the chunk; weights: the document half of BM25.
create table chunk_terms (
  workspace_id uuid not null,
  chunk_id     uuid not null,
  document_id  uuid not null,
  space_id     uuid not null,
  readers      text[] not null,
  length       integer not null,
  terms        integer[] not null,
  frequencies  smallint[] not null,
  weights      sparsevec not null,
  primary key (workspace_id, chunk_id),
  foreign key (workspace_id, document_id) references documents on delete cascade
) partition by hash (workspace_id);

do $$
begin
  for n in 0..15 loop
    execute format('create table chunks_p%s partition of chunks for values with (modulus 16, remainder %s)', n, n);
    execute format('create table chunk_vectors_p%s partition of chunk_vectors for values with (modulus 16, remainder %s)', n, n);
    execute format('create table chunk_terms_p%s partition of chunk_terms for values with (modulus 16, remainder %s)', n, n);
    -- Inline storage: an exact scan must not look every vector up in another table.
    execute format('alter table chunk_vectors_p%s alter embedding set storage plain', n);
    execute format('alter table chunk_terms_p%s alter weights set storage external', n);
  end loop;
end
$$;
create index chunks_document on chunks (workspace_id, document_id, ordinal);
create index chunk_vectors_document on chunk_vectors (workspace_id, document_id);
create index chunk_terms_document on chunk_terms (workspace_id, document_id);
create index chunk_vectors_hnsw_384 on chunk_vectors
  using hnsw ((embedding::halfvec(384)) halfvec_ip_ops) where vector_dims(embedding) = 384;
-- Term ids are made from workspace and stem, so a posting list never mixes tenants. The default operator class: the
-- intarray extension's would override `&&` and hide this index.
create index chunk_terms_terms on chunk_terms using gin (terms) with (fastupdate = off);

-- Document frequency of each term and the size of the index, per workspace and space, changed in the transaction that
-- changes the chunks; exact at every commit.
create table term_frequencies (
  workspace_id uuid not null references workspaces on delete cascade,
  space_id     uuid not null,
  term         integer not null,
  chunks       integer not null,
  primary key (workspace_id, space_id, term)
) with (fillfactor = 70);

create table index_statistics (
  workspace_id   uuid not null references workspaces on delete cascade,
  space_id       uuid not null,
  chunks         bigint not null default 0,
  terms          bigint not null default 0,
  weights_length real not null default 0, -- average chunk length that the stored weights were made with
  version        bigint not null default 0, -- grows with every change: what caches are keyed by
  primary key (workspace_id, space_id)
) with (fillfactor = 50);

create table answers (
  workspace_id uuid not null references workspaces on delete cascade,
  id           uuid not null,
  readers      text[] not null,
  user_id      uuid,
  api_key_id   uuid,
  question     text not null,
  refused      boolean not null,
  model        text not null,
  record       jsonb not null,
  created_at   timestamptz not null default now(),
  primary key (workspace_id, id)
);
create index answers_newest on answers (workspace_id, created_at desc, id desc);
