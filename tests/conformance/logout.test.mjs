// OIDF plan "RP-Initiated Logout".
import { describe, test } from "node:test";
import { checkEndpoints, discover } from "./lib/metadata.mjs";
import { AFTER_LOGOUT_URI, arrive, assert, Browser, checkErrorCallback, ISSUER, jose, openid, register } from "./lib/relying_party.mjs";

const STATE = "s".repeat(128);

/** Sign in, then go to the end-session endpoint with a proper request that `change` spoils. */
async function signInAndOut(change = (parameters) => parameters) {
  const party = await register();
  const done = await party.signIn();
  const parameters = await change(
    { id_token_hint: done.idToken.jwt, post_logout_redirect_uri: AFTER_LOGOUT_URI, state: STATE },
    { party, done },
  );
  const page = await done.browser.visit(endSession(party, parameters));
  return { party, done, page };
}

/** As the OIDF suite asks: without the client_id that `openid-client` adds. */
function endSession(party, parameters) {
  const url = new URL(party.server.end_session_endpoint);
  url.search = new URLSearchParams(parameters).toString();
  return url;
}

function checkSentBack(page) {
  assert.ok(page.left, `the provider showed ${page.status} ${page.text}`);
  assert.equal(page.left.origin + page.left.pathname, AFTER_LOGOUT_URI);
  assert.deepEqual([...page.left.searchParams], [["state", STATE]]);
}

async function isSignedIn({ party, done }) {
  const request = await party.request({ prompt: "none" });
  const { page } = await arrive(done.browser, request.url);
  if (page.left.searchParams.get("code")) return true;
  checkErrorCallback(page.left, request, ["login_required", "interaction_required", "account_selection_required"]);
  return false;
}

/** The person stays with the provider: an error, or a page that asks whether to sign out. */
function checkStays(page) {
  assert.equal(page.left, undefined, `sent away to ${page.left}`);
  assert.match(page.headers.get("content-type"), /text\/html/);
  assert.ok(page.status < 500 && page.text.length > 0);
}

/** The person is signed out, after a confirmation where one is asked, and stays with the provider. */
async function checkSignsOutHere(out) {
  checkStays(out.page);
  assert.equal(out.page.status, 200);
  let page = out.page;
  const question = page.form((form) => form.querySelector("button[value=logout]"));
  if (question) page = await out.done.browser.submit(page, question, {}, question.querySelector("button[value=logout]"));
  checkStays(page);
  assert.equal(page.status, 200);
  assert.equal(await isSignedIn(out), false, "the person is signed out");
}

describe("logout", { concurrency: 4 }, () => {
  test("oidcc-rp-initiated-logout", async () => {
    const out = await signInAndOut();
    checkSentBack(out.page);
    assert.equal(await isSignedIn(out), false);
    // And as `openid-client` asks.
    const party = await register();
    const done = await party.signIn();
    const parameters = { id_token_hint: done.idToken.jwt, post_logout_redirect_uri: AFTER_LOGOUT_URI, state: STATE };
    checkSentBack(await done.browser.visit(openid.buildEndSessionUrl(party.configuration, parameters)));
    assert.equal(await isSignedIn({ party, done }), false);
  });

  test("oidcc-rp-initiated-logout-discovery-endpoint-verification", async () => {
    const metadata = await discover();
    assert.ok(metadata.end_session_endpoint);
    checkEndpoints(metadata);
  });

  test("oidcc-rp-initiated-logout-bad-post-logout-redirect-uri", async () => {
    const out = await signInAndOut((all) => ({ ...all, post_logout_redirect_uri: `${AFTER_LOGOUT_URI}/${crypto.randomUUID()}` }));
    checkStays(out.page);
  });

  test("oidcc-rp-initiated-logout-modified-id-token-hint", async () => {
    const out = await signInAndOut((all, { done }) => ({ ...all, id_token_hint: new jose.UnsecuredJWT(done.idToken.claims).encode() }));
    checkStays(out.page);
  });

  test("oidcc-rp-initiated-logout-bad-id-token-hint", async () => {
    const out = await signInAndOut(async (all, { done }) => {
      const { privateKey } = await jose.generateKeyPair("RS256");
      const forged = await new jose.SignJWT(done.idToken.claims).setProtectedHeader({ alg: "RS256", kid: done.idToken.header.kid }).sign(privateKey);
      return { ...all, id_token_hint: forged };
    });
    checkStays(out.page);
  });

  test("oidcc-rp-initiated-logout-no-id-token-hint", async () => {
    const out = await signInAndOut(({ id_token_hint: _, ...rest }) => rest);
    checkStays(out.page);
  });

  test("oidcc-rp-initiated-logout-no-params", async () => {
    const party = await register();
    const done = await party.signIn();
    const page = await done.browser.visit(party.server.end_session_endpoint);
    await checkSignsOutHere({ party, done, page });
  });

  test("oidcc-rp-initiated-logout-no-post-logout-redirect-uri", async () => {
    await checkSignsOutHere(await signInAndOut(({ post_logout_redirect_uri: _, ...rest }) => rest));
  });

  test("oidcc-rp-initiated-logout-no-state", async () => {
    const out = await signInAndOut(({ state: _, ...rest }) => rest);
    assert.equal(out.page.left?.href, AFTER_LOGOUT_URI, "nothing is added to the address");
    assert.equal(await isSignedIn(out), false);
  });

  test("oidcc-rp-initiated-logout-only-state", async () => {
    const party = await register();
    const done = await party.signIn();
    const url = new URL(party.server.end_session_endpoint);
    url.searchParams.set("state", STATE);
    await checkSignsOutHere({ party, done, page: await done.browser.visit(url) });
  });

  test("oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri", async () => {
    const out = await signInAndOut((all) => ({ ...all, post_logout_redirect_uri: `${AFTER_LOGOUT_URI}?foo=bar` }));
    checkStays(out.page);
  });
});
