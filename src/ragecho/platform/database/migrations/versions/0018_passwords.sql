-- A locked file is opened again after it was read: for a picture of its page, and when it is read anew. So its password, sealed as it
-- was for the job, stays with the version that it opened, and goes with it.
alter table document_versions add column sealed text;
