-- Work in steps that are limited over all workers, and a queue of which no tenant and no step holds all places.

-- Who is in a step, or waits for it: in the order of their tickets the first ones are in it, as many as its limit allows. A row
-- that is not renewed belongs to a worker that died. Nothing of a tenant's.
create table step_leases (
  ticket     bigint generated always as identity primary key,
  step       text not null,
  expires_at timestamptz not null
);
create index step_leases_step on step_leases (step, ticket);
grant select, insert, update, delete on step_leases to ragecho_app;

-- The next delivery of an organisation or a queue is found without walking past those of the others.
create index ragecho_jobs_turn on procrastinate_jobs (queue_name, (args ->> 'organization_id'), priority desc, id)
  where status = 'todo';
drop function ragecho_fetch_job;

-- The last turn that a workspace's open jobs have.
create index jobs_last_turn on jobs (workspace_id, turn desc) where status in ('queued', 'running');

-- The next delivery: what procrastinate_fetch_job_v2 does, but none of an organisation that has `most` in the works over all
-- workers (0: any number), none of a queue that has as many in the works as `queue_limits` says, and none of what the asking
-- worker itself has enough of. Where such a count is to hold, one worker at a time looks, so that two do not count the same place
-- as free.
create function ragecho_fetch_job(
  target_queues varchar[], worker bigint, most integer, queue_limits jsonb, full_queues text[], full_organizations text[]
) returns procrastinate_jobs
language plpgsql as $$
declare
  found procrastinate_jobs;
  queues text[] := full_queues;
  organizations text[] := full_organizations;
begin
  if most > 0 or queue_limits <> '{}' then
    perform pg_advisory_xact_lock(hashtextextended('ragecho_fetch_job', 7));
    select queues || coalesce(array_agg(l.key), '{}') into queues from jsonb_each_text(queue_limits) l
    where (select count(*) from procrastinate_jobs q where q.status = 'doing' and q.queue_name = l.key) >= l.value::integer;
    if most > 0 then
      select organizations || coalesce(array_agg(b.organization), '{}') into organizations from (
        select args ->> 'organization_id' as organization from procrastinate_jobs where status = 'doing'
        group by 1 having count(*) >= most) b;
    end if;
  end if;
  if queues = '{}' and organizations = '{}' then
    select q.* into found from procrastinate_jobs q
    where q.status = 'todo' and (target_queues is null or q.queue_name = any (target_queues))
      and (q.scheduled_at is null or q.scheduled_at <= now())
    order by q.priority desc, q.id limit 1 for update of q skip locked;
  else
    -- The first delivery of each queue and organisation, by a loose walk over the index; of these the first.
    with recursive groups as (
      (select q.queue_name as queue, q.args ->> 'organization_id' as organization from procrastinate_jobs q
       where q.status = 'todo' order by q.queue_name, q.args ->> 'organization_id' limit 1)
      union all
      select n.queue, n.organization from groups g cross join lateral (
        select q.queue_name as queue, q.args ->> 'organization_id' as organization from procrastinate_jobs q
        where q.status = 'todo' and (q.queue_name, q.args ->> 'organization_id') > (g.queue, g.organization)
        order by q.queue_name, q.args ->> 'organization_id' limit 1) n
    ), free as materialized (
      select g.* from groups g where (target_queues is null or g.queue = any (target_queues))
        and g.queue <> all (queues) and (g.organization is null or g.organization <> all (organizations))
    )
    select c.* into found from free f cross join lateral (
      select q.* from procrastinate_jobs q
      where q.status = 'todo' and q.queue_name = f.queue and q.args ->> 'organization_id' = f.organization
        and (q.scheduled_at is null or q.scheduled_at <= now())
      order by q.priority desc, q.id limit 1 for update of q skip locked) c
    order by c.priority desc, c.id limit 1;
  end if;
  if found.id is null then
    return found;
  end if;
  update procrastinate_jobs q set status = 'doing', worker_id = worker where q.id = found.id returning q.* into found;
  return found;
end
$$;
