"""What people do with jobs: retry, cancel, discard. The document's state changes with its job, in one transaction."""

from ragecho.ingest.reindex import REINDEX_JOB
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Conflict, NotFound
from ragecho.kernel.ids import JobId
from ragecho.library import writing as library
from ragecho.platform import audit_log
from ragecho.platform.database import Session
from ragecho.platform.jobs import store as jobs
from ragecho.platform.jobs import store_overview as overview
from ragecho.platform.jobs.model import OPEN_STATUSES, Job

# Most dead jobs that one request tries again.
MAX_RETRIED = 1000


async def get_job(caller: Caller, session: Session, job_id: JobId, *, for_update: bool = False) -> Job:
    """Return a job that the caller may see. Raises `NotFound`."""
    job = await jobs.get(session, caller, job_id, for_update=for_update)
    if job is None:
        raise NotFound("There is no such job.")
    return job


async def retry_job(caller: Caller, session: Session, job_id: JobId) -> Job:
    """Try a job that ended without success once more, from the start. Raises `NotFound`, `Conflict`."""
    job = await _locked(caller, session, job_id)
    if job.status not in ("failed", "dead", "cancelled"):
        raise Conflict(f"Only a job that ended without success can be retried; this one is {job.status}.")
    if not await _is_latest(session, caller, job):
        raise Conflict("A newer version of this document was uploaded; this job is over.")
    await _again(caller, session, job)
    return await get_job(caller, session, job_id)


async def retry_dead(caller: Caller, session: Session) -> int:
    """Try the dead jobs that the caller may see once more, at most `MAX_RETRIED`; return how many."""
    found, _ = await overview.list_jobs(session, caller, statuses=["dead"], limit=MAX_RETRIED, offset=0)
    documents = [job.document_id for job in found if job.document_id is not None]
    await library.lock_documents(session, caller, documents)
    retried = 0
    for one in sorted(found, key=lambda job: job.id):
        job = await jobs.get(session, caller, one.id, for_update=True)
        if job is not None and job.status == "dead" and await _is_latest(session, caller, job):
            await _again(caller, session, job)
            retried += 1
    return retried


async def cancel_job(caller: Caller, session: Session, job_id: JobId) -> Job:
    """Stop a job; its document is failed unless an earlier version answers. Raises `NotFound`, `Conflict`."""
    job = await _locked(caller, session, job_id)
    if job.status not in OPEN_STATUSES:
        raise Conflict(f"This job has ended already: it is {job.status}.")
    if job.kind == REINDEX_JOB:
        # One of several that fill a space: without it the space would never be full, and nobody would say so.
        raise Conflict(
            "This job is part of a re-indexing, which is given up as a whole: DELETE /api/v1/admin/index/reindex, or"
            " `ragecho reindex --cancel`."
        )
    error = {"code": "cancelled", "message": "Processing was cancelled. Retry the job to process the document."}
    await jobs.finish(session, caller, job.id, status="cancelled", error=error)
    if job.document_id is not None:
        await library.set_status(session, caller, job.document_id, status="failed", progress=0.0, error=error)
    return await get_job(caller, session, job_id)


async def discard_job(caller: Caller, session: Session, job_id: JobId) -> None:
    """Forget a job that ended without success; its document stays as it is. Raises `NotFound`, `Conflict`."""
    job = await get_job(caller, session, job_id, for_update=True)
    if job.status not in ("failed", "dead", "cancelled"):
        raise Conflict(f"Only a job that ended without success can be discarded; this one is {job.status}.")
    await overview.discard(session, caller, job.id)
    target = audit_log.Target("job", job.id)
    details = {"kind": job.kind, "status": job.status, "document_id": job.document_id}
    await audit_log.record(session, caller, "job.discarded", target, workspace_id=caller.workspace_id, details=details)


async def _locked(caller: Caller, session: Session, job_id: JobId) -> Job:
    """Return the job, its document and itself locked. Lock order everywhere: the documents, the jobs."""
    job = await get_job(caller, session, job_id)
    if job.document_id is not None:
        await library.lock_documents(session, caller, [job.document_id])
    return await get_job(caller, session, job_id, for_update=True)


async def _is_latest(session: Session, caller: Caller, job: Job) -> bool:
    """Return whether the job is about the newest version: an older one must not come back over it."""
    if job.document_id is None or job.version_id is None:
        return True
    return (await library.latest_version(session, caller, job.document_id)).id == job.version_id


async def _again(caller: Caller, session: Session, job: Job) -> None:
    if job.document_id is not None:
        await jobs.cancel_of_document(session, caller, job.document_id)
    await jobs.reopen(session, caller, job.id)
    if job.document_id is not None:
        await library.set_status(session, caller, job.document_id, status="queued", progress=0.0, error=None)
    await jobs.deliver(session, caller, job.id)
