-- Who is asking stands in transaction-local settings, made by platform/database/transaction.py. After a transaction they
-- read as '' rather than null, hence nullif. The policies call these as sub-selects so that they run once per query.
create function ragecho_organization() returns uuid language sql stable parallel safe
  return nullif(current_setting('ragecho.organization_id', true), '')::uuid;
create function ragecho_workspace() returns uuid language sql stable parallel safe
  return nullif(current_setting('ragecho.workspace_id', true), '')::uuid;
create function ragecho_principals() returns text[] language sql stable parallel safe
  return nullif(current_setting('ragecho.principals', true), '')::text[];
create function ragecho_sees_all() returns boolean language sql stable parallel safe
  return coalesce(current_setting('ragecho.sees_all', true) = 'on', false);

do $$
declare
  t text;
begin
  -- Rows of the caller's organisation.
  foreach t in array array['workspaces', 'organization_members', 'api_keys'] loop
    execute format('alter table %I enable row level security, force row level security', t);
    execute format('create policy tenant on %I to ragecho_app using (organization_id = (select ragecho_organization()))', t);
  end loop;

  -- Rows of the caller's workspace.
  foreach t in array array['jobs', 'term_frequencies', 'index_statistics'] loop
    execute format('alter table %I enable row level security, force row level security', t);
    execute format('create policy tenant on %I to ragecho_app using (workspace_id = (select ragecho_workspace()))', t);
  end loop;

  -- Rows of the caller's workspace that the caller may read. Writing needs only the workspace: who may write what is
  -- the service's decision, and a row may be written that its writer cannot read (sharing by an administrator).
  foreach t in array array['documents', 'chunks', 'chunk_vectors', 'chunk_terms', 'answers'] loop
    execute format('alter table %I enable row level security, force row level security', t);
    execute format(
      'create policy readable on %I to ragecho_app using (workspace_id = (select ragecho_workspace())'
      ' and ((select ragecho_sees_all()) or readers && (select ragecho_principals())))'
      ' with check (workspace_id = (select ragecho_workspace()))', t);
  end loop;
  -- Partitions are tables too: nobody may go around the parent's policy by naming one.
  for t in select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
           join pg_class p on p.oid = i.inhparent where p.relname in ('chunks', 'chunk_vectors', 'chunk_terms')
           and c.relkind = 'r' loop
    execute format('alter table %I enable row level security, force row level security', t);
  end loop;
end
$$;

alter table organizations enable row level security, force row level security;
create policy tenant on organizations to ragecho_app using (id = (select ragecho_organization()));

alter table users enable row level security, force row level security;
create policy tenant on users to ragecho_app using (
  exists (select from organization_members m
          where m.user_id = users.id and m.organization_id = (select ragecho_organization())));

-- A new person is not a member of anything yet; the membership follows in the same transaction.
create policy enrol on users for insert to ragecho_app with check (true);

alter table document_versions enable row level security, force row level security;
create policy readable on document_versions to ragecho_app
  using (workspace_id = (select ragecho_workspace())
         and exists (select from documents d where d.workspace_id = document_versions.workspace_id
                     and d.id = document_versions.document_id))
  with check (workspace_id = (select ragecho_workspace()));

-- A job about a document is visible to those who may read the document.
create policy of_readable_document on jobs as restrictive to ragecho_app using (
  document_id is null or exists (select from documents d where d.workspace_id = jobs.workspace_id and d.id = jobs.document_id));

grant select, insert, update, delete on
  organizations, users, organization_members, workspaces, api_keys, documents, document_versions, jobs,
  chunks, chunk_vectors, chunk_terms, term_frequencies, index_statistics, answers, embedding_spaces to ragecho_app;
grant select, insert, update, delete on
  procrastinate_jobs, procrastinate_workers, procrastinate_periodic_defers, procrastinate_events to ragecho_app;
grant usage on all sequences in schema public to ragecho_app;
