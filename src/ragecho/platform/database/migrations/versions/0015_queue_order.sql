-- The turn that a queue serves now is its first delivery. With the index by organisation alone every enqueuing sorted all that
-- waits: 19 ms behind 10 000 documents.
create index ragecho_jobs_first on procrastinate_jobs (queue_name, priority desc, id) where status = 'todo';
