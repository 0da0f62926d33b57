"""Sites are kept in step with: visited politely, followed when they change, and forgotten when they go. Real servers."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant
from tests.db.people import add_person
from tests.db.sources_driver import Driver, counts
from tests.site_server import Page, Site, serving_site

from ragecho.ingest.model import Labels
from ragecho.ingest.sources import store
from ragecho.ingest.sources.model import Rule, SourceLabels
from ragecho.ingest.sources.schedule import SourceSchedule
from ragecho.ingest.sources.service import SourceChange
from ragecho.kernel.caller import Access
from ragecho.kernel.errors import InvalidInput, NotFound
from ragecho.library.service import delete_document
from ragecho.platform.database import Database
from ragecho.platform.jobs import store as jobs

pytestmark = pytest.mark.anyio


@pytest.fixture
def site() -> Iterator[Site]:
    with serving_site() as site:
        yield site


@pytest.fixture
def driver(database: Database, tenant: Tenant, tmp_path: Path) -> Driver:
    return Driver(database, tenant, tmp_path / "blobs")


def small_site(site: Site) -> None:
    site.html("/", "Start", "Welcome to the harbour.", "/a", "/b", "https://elsewhere.example/")
    site.html("/a", "A", "The crane lifts twelve tonnes.", "/", "/c")
    site.html("/b", "B", "Diesel is sold on weekdays.", "/a")
    site.html("/c", "C", "The lock opens at noon.", "/deep")
    site.html("/deep", "Deep", "Too far away.")


def crawl(site: Site, **options: object) -> dict[str, object]:
    return {"url": f"{site.url}/", "delay_seconds": 0, **options}


def named(site: Site, *paths: str) -> set[str]:
    host = site.url.removeprefix("http://")
    return {f"{host}{path}".rstrip("/") for path in paths}


async def test_a_site_is_walked_to_its_depth_and_no_further(driver: Driver, site: Site) -> None:
    small_site(site)
    source = await driver.add("crawl", crawl(site, max_depth=2))
    run = await driver.run(source)
    assert (run.status, run.error, counts(run)) == ("succeeded", None, {"added": 4})
    found = await driver.documents()
    assert set(found) == named(site, "/", "/a", "/b", "/c")
    start = found[min(found)]
    assert start.metadata["source"] == str(source)
    assert start.metadata["url"] == f"{site.url}/"
    assert start.metadata["etag"] == site.pages["/"].etag


async def test_a_second_visit_asks_whether_anything_changed_and_takes_only_that(driver: Driver, site: Site) -> None:
    small_site(site)
    source = await driver.add("crawl", crawl(site))
    await driver.run(source)
    before = await driver.documents()
    site.html("/b", "B", "Diesel is sold on Sundays, too.", "/a")
    run = await driver.run(source)
    assert counts(run) == {"changed": 1, "unchanged": 4}
    assert site.statuses("/c") == [200, 304]
    after = await driver.documents()
    assert {name: document.id for name, document in after.items()} == {
        name: document.id for name, document in before.items()
    }
    (changed,) = named(site, "/b")
    assert b"Sundays" in await driver.content(after[changed])


async def test_a_page_that_is_gone_or_no_longer_linked_is_removed(driver: Driver, site: Site) -> None:
    small_site(site)
    source = await driver.add("crawl", crawl(site))
    await driver.run(source)
    site.html("/", "Start", "Welcome to the harbour.", "/a")  # /b is there, and nothing leads to it
    del site.pages["/c"]
    run = await driver.run(source)
    assert set(await driver.documents()) == named(site, "/", "/a")
    assert counts(run) == {"changed": 1, "unchanged": 1, "removed": 3}
    assert (await driver.run(source)).removed == 0


async def test_a_site_that_does_not_answer_loses_nothing(driver: Driver, site: Site) -> None:
    small_site(site)
    source = await driver.add("crawl", crawl(site))
    await driver.run(source)
    held = set(await driver.documents())
    for page in site.pages.values():
        page.status = 503
    run = await driver.run(source)
    assert run.status == "failed"
    assert run.error == {"code": "unavailable", "message": "127.0.0.1 answered with 503."}
    assert set(await driver.documents()) == held
    state = await driver.sources.get(driver.tenant.member(), source)
    assert (state.source.failures, state.source.error) == (1, run.error)
    for page in site.pages.values():
        page.status = 200
    assert (await driver.run(source)).status == "succeeded"
    assert (await driver.sources.get(driver.tenant.member(), source)).source.failures == 0


async def test_one_page_that_fails_fails_alone_and_what_it_leads_to_stays(driver: Driver, site: Site) -> None:
    small_site(site)
    source = await driver.add("crawl", crawl(site))
    await driver.run(source)
    site.pages["/a"].status = 500
    run = await driver.run(source)
    assert (run.status, counts(run)) == ("partial", {"unchanged": 4, "failed": 1})
    failed = await driver.items(source, "failed")
    assert failed[f"{site.url}/a"].error == {"code": "unavailable", "message": "127.0.0.1 answered with 500."}
    assert set(await driver.documents()) == named(site, "/", "/a", "/b", "/c", "/deep")


async def test_robots_txt_is_obeyed(driver: Driver, site: Site) -> None:
    small_site(site)
    site.put("/robots.txt", "User-agent: *\nDisallow: /a\nCrawl-delay: 0\n", "text/plain")
    source = await driver.add("crawl", crawl(site))
    run = await driver.run(source)
    assert set(await driver.documents()) == named(site, "/", "/b")
    assert run.skipped == 1
    assert site.statuses("/a") == []
    (skipped,) = (await driver.items(source, "skipped")).values()
    assert skipped.error == {"code": "skipped", "message": "The site's robots.txt does not permit it."}


async def test_one_page_by_two_addresses_is_one_document(driver: Driver, site: Site) -> None:
    site.html("/", "Start", "Welcome.", "/old", "/new", "/copy", "/new?utm_source=x", "/print")
    site.html("/new", "New", "The lamp keeper has moved.")
    site.redirect("/old", "/new")
    site.pages["/copy"] = site.pages["/new"]
    site.put("/print", b'<html><link rel="canonical" href="/new"><p>The lamp keeper has moved. Printed.</p></html>')
    source = await driver.add("crawl", crawl(site))
    await driver.run(source)
    assert set(await driver.documents()) == named(site, "/", "/new")
    items = {key.removeprefix(site.url): item.status for key, item in (await driver.items(source)).items()}
    assert items == {"/": "held", "/old": "alias", "/new": "held", "/copy": "same", "/print": "alias"}
    again = await driver.run(source)
    assert (again.removed, again.added, again.changed) == (0, 0, 0)
    assert set(await driver.documents()) == named(site, "/", "/new")


async def test_a_copy_stays_when_its_original_goes(driver: Driver, site: Site) -> None:
    site.html("/", "Start", "Welcome.", "/one", "/two")
    site.html("/one", "One", "Said twice.")
    site.pages["/two"] = site.pages["/one"]
    source = await driver.add("crawl", crawl(site))
    await driver.run(source)
    assert len(await driver.documents()) == 2
    del site.pages["/one"]
    await driver.run(source)
    assert len(await driver.documents()) == 2
    del site.pages["/two"]
    await driver.run(source)
    assert set(await driver.documents()) == named(site, "/")


async def test_a_walk_that_is_too_long_stops_and_removes_nothing_unseen(driver: Driver, site: Site) -> None:
    small_site(site)
    source = await driver.add("crawl", crawl(site))
    await driver.run(source)
    await driver.sources.change(driver.tenant.member(), source, SourceChange(config=crawl(site, max_pages=2)))
    run = await driver.run(source)
    assert (run.listed, run.removed) == (2, 0)
    assert len(await driver.documents()) == 5


async def test_patterns_and_prefix_say_what_belongs_to_a_site(driver: Driver, site: Site) -> None:
    site.html("/docs/", "Docs", "All about it.", "/docs/a", "/docs/private/b", "/blog")
    site.html("/docs/a", "A", "First.")
    site.html("/docs/private/b", "B", "Second.")
    site.html("/blog", "Blog", "Third.")
    config = {"url": f"{site.url}/docs/", "delay_seconds": 0, "scope": "prefix", "exclude": ["*/private/*"]}
    await driver.run(await driver.add("crawl", config))
    assert set(await driver.documents()) == named(site, "/docs/", "/docs/a")


async def test_a_page_that_asks_not_to_be_indexed_is_passed_through(driver: Driver, site: Site) -> None:
    site.put("/", b'<html><meta name="robots" content="noindex"><a href="/a">a</a></html>')
    site.html("/a", "A", "Words.")
    run = await driver.run(await driver.add("crawl", crawl(site)))
    assert set(await driver.documents()) == named(site, "/a")
    assert run.skipped == 1


async def test_a_sitemap_names_its_pages_and_when_they_changed(driver: Driver, site: Site) -> None:
    small_site(site)

    def entry(path: str, day: int) -> str:
        return f"<url><loc>{site.url}{path}</loc><lastmod>2026-01-{day:02}</lastmod></url>"

    def sitemap(*entries: str) -> str:
        return f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{"".join(entries)}</urlset>'

    site.put("/robots.txt", f"Sitemap: {site.url}/index.xml\n", "text/plain")
    site.put(
        "/index.xml", f"<sitemapindex><sitemap><loc>{site.url}/pages.xml</loc></sitemap></sitemapindex>", "text/xml"
    )
    site.put("/pages.xml", sitemap(entry("/a", 1), entry("/b", 1), entry("/c", 1)), "text/xml")
    source = await driver.add("sitemap", {"url": site.url, "delay_seconds": 0, "exclude": ["*/c"]})
    assert counts(await driver.run(source)) == {"added": 2}
    site.html("/a", "A", "Changed.")
    site.put("/pages.xml", sitemap(entry("/a", 2)), "text/xml")
    asked = len(site.statuses("/b"))
    assert counts(await driver.run(source)) == {"changed": 1, "removed": 1}
    assert len(site.statuses("/b")) == asked
    assert set(await driver.documents()) == named(site, "/a")


async def test_a_run_is_cut_into_slices_and_survives_its_worker(
    database: Database, tenant: Tenant, tmp_path: Path, site: Site
) -> None:
    small_site(site)
    hasty = Driver(database, tenant, tmp_path / "blobs", slice_seconds=0.0)
    source = await hasty.add("crawl", crawl(site))
    run = await hasty.run(source, slices=1)
    assert run.is_open
    assert run.job_id != (await hasty.carry_on(run.id, slices=0)).id
    # Another worker with more time takes it to its end.
    patient = Driver(database, tenant, tmp_path / "blobs")
    done = await patient.carry_on(run.id)
    assert (done.status, done.added) == ("succeeded", 5)


async def test_a_schedule_starts_each_run_once_over_many_workers(
    driver: Driver, database: Database, site: Site
) -> None:
    site.html("/", "Start", "Welcome.")
    source = await driver.add("url", {"url": f"{site.url}/"}, interval=3600)
    await driver.run(source)
    worker = driver.tenant.worker()
    async with database.transaction(worker) as session:
        await session.execute(
            text("update sources set next_run_at = now() - interval '1 minute' where id = :id"), {"id": source}
        )
    started = await asyncio.gather(*(SourceSchedule(database).start_due() for _ in range(4)))
    assert sum(started) == 1
    runs, total = await driver.sources.runs(driver.tenant.member(), source, limit=10, offset=0)
    assert (total, runs[0].reason) == (2, "schedule")
    state = await driver.sources.get(driver.tenant.member(), source)
    assert state.source.next_run_at is not None
    assert state.source.next_run_at > datetime.now(UTC)


async def test_failures_in_a_row_put_the_next_run_off(driver: Driver, database: Database, site: Site) -> None:
    source = await driver.add("url", {"url": f"{site.url}/missing"}, interval=60)
    site.pages["/missing"] = Page(status=500)
    waits = []
    for _ in range(3):
        run = await driver.run(source)
        assert run.status == "failed"
        state = await driver.sources.get(driver.tenant.member(), source)
        assert state.source.next_run_at is not None
        assert run.finished_at is not None
        waits.append(round((state.source.next_run_at - run.finished_at).total_seconds()))
    assert waits == [60, 120, 240]


async def test_a_run_under_way_is_not_started_twice(driver: Driver, site: Site) -> None:
    small_site(site)
    source = await driver.add("crawl", crawl(site))
    first = await driver.sources.sync(driver.tenant.member(), source)
    assert (await driver.sources.sync(driver.tenant.member(), source)).id == first.id
    worker = driver.tenant.worker()
    async with driver.database.transaction(worker) as session:
        await jobs.finish(session, worker, first.job_id, status="cancelled")
    second = await driver.sources.sync(driver.tenant.member(), source)
    assert second.id != first.id
    assert (await driver.run_of(first.id) or first).status == "cancelled"


async def test_labels_and_rules_decide_who_reads_what(driver: Driver, site: Site, database: Database) -> None:
    small_site(site)
    owner = await add_person(database, driver.tenant)
    labels = SourceLabels(
        Labels(Access.WORKSPACE, ("site",), {"team": "port"}), (Rule("*/b", Access.PRIVATE, ("secret",)),)
    )
    caller = driver.tenant.member(owner)
    source = await driver.add("crawl", crawl(site), labels=labels, caller=caller)
    await driver.run(source)
    everybody = await driver.documents(replace(driver.tenant.member(), principals=("workspace",)))
    (private,) = named(site, "/b")
    assert private not in everybody
    assert len(everybody) == 4
    mine = (await driver.documents(caller))[private]
    assert (mine.owner_id, mine.access, mine.tags) == (owner, Access.PRIVATE, ("site", "secret"))
    assert mine.metadata["team"] == "port"


async def test_new_labels_reach_documents_that_did_not_change(driver: Driver, site: Site) -> None:
    small_site(site)
    source = await driver.add("crawl", crawl(site))
    await driver.run(source)
    changed = SourceLabels(Labels(Access.INTERNAL, ("new",)))
    await driver.sources.change(driver.tenant.member(), source, SourceChange(labels=changed))
    run = await driver.run(source)
    assert run.changed == 0
    found = (await driver.documents()).values()
    assert {(document.access, document.tags, document.readers) for document in found} == {
        (Access.INTERNAL, ("new",), ("level:internal",))
    }


async def test_a_document_deleted_by_hand_comes_back_only_when_its_page_changes(driver: Driver, site: Site) -> None:
    small_site(site)
    source = await driver.add("crawl", crawl(site))
    await driver.run(source)
    (name,) = named(site, "/b")
    worker = driver.tenant.worker()
    async with driver.database.transaction(worker) as session:
        await delete_document(worker, session, (await driver.documents())[name].id)
    await driver.run(source)
    assert name not in await driver.documents()
    site.html("/b", "B", "Something else.")
    await driver.run(source)
    assert name in await driver.documents()


async def test_removing_a_source_removes_its_documents_unless_they_are_kept(driver: Driver, site: Site) -> None:
    small_site(site)
    member = driver.tenant.member()
    kept = await driver.add("url", {"url": f"{site.url}/deep"})
    await driver.run(kept)
    await driver.sources.remove(member, kept, keep_documents=True)
    source = await driver.add("crawl", crawl(site, max_depth=1))
    await driver.run(source)
    assert len(await driver.documents()) == 4
    await driver.sources.remove(member, source, keep_documents=False)
    with pytest.raises(NotFound):
        await driver.sources.get(member, source)
    worker = driver.tenant.worker()
    async with driver.database.transaction(worker) as session:
        removing = await store.get_source(session, worker, source)
    assert removing is not None
    assert removing.run_id is not None
    with pytest.raises(AssertionError):  # its run goes with it
        await driver.carry_on(removing.run_id)
    assert set(await driver.documents()) == named(site, "/deep")
    contents = [blob async for blob in driver.blobs.iterate(driver.tenant.workspace_id)]
    assert len(contents) == 1


async def test_secrets_are_sealed_and_go_nowhere_else(driver: Driver) -> None:
    member = driver.tenant.member()
    secrets = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "zanzibar"}
    source = await driver.add("s3", {"bucket": "docs", "endpoint": "http://127.0.0.1:9"}, secrets=secrets)
    worker = driver.tenant.worker()
    async with driver.database.transaction(worker) as session:
        stored = await session.execute(
            text("select row_to_json(s)::text from sources s where id = :id"), {"id": source}
        )
        assert "zanzibar" not in stored.scalar_one()
    with pytest.raises(InvalidInput, match="secrets again"):
        moved = {"bucket": "docs", "endpoint": "http://127.0.0.1:10"}
        await driver.sources.change(member, source, SourceChange(config=moved))
    with pytest.raises(InvalidInput, match="no secret 'password'"):
        await driver.sources.change(member, source, SourceChange(secrets={"password": "x"}))
    with pytest.raises(InvalidInput, match="needs the secret 'password'"):
        await driver.add("imap", {"host": "mail.example.org", "username": "me"})


async def test_a_wrong_configuration_is_told_by_its_field(driver: Driver) -> None:
    with pytest.raises(InvalidInput, match=r"config\.url"):
        await driver.add("crawl", {"url": "gopher://x"})
    with pytest.raises(InvalidInput, match=r"config\.max_pages"):
        await driver.add("crawl", {"url": "https://example.org", "max_pages": 0})
    with pytest.raises(InvalidInput, match="no such kind"):
        await driver.add("ftp", {})


async def test_another_tenants_sources_do_not_exist(driver: Driver, other_tenant: Tenant, site: Site) -> None:
    site.html("/", "Start", "Welcome.")
    source = await driver.add("url", {"url": f"{site.url}/"})
    stranger = other_tenant.member()
    assert await driver.sources.list(stranger, limit=10, offset=0) == ([], 0)
    with pytest.raises(NotFound):
        await driver.sources.get(stranger, source)
    with pytest.raises(NotFound):
        await driver.sources.sync(stranger, source)
