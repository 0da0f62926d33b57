// OIDF plan "Basic": response_type=code, client_secret_basic, dynamic registration.
import { execFile } from "node:child_process";
import { describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { checkKeys } from "./lib/metadata.mjs";
import {
  REDIRECT_URI, arrive, assert, Browser, checkCallback, checkErrorCallback, checkErrorPage, ISSUER, jose, json, openid,
  person, register,
} from "./lib/relying_party.mjs";

const INTERACTION_ERRORS = ["login_required", "interaction_required", "consent_required", "account_selection_required"];
const PROFILE = {
  name: "string", family_name: "string", given_name: "string", middle_name: "string", nickname: "string",
  preferred_username: "string", profile: "string", picture: "string", website: "string", gender: "string",
  birthdate: "string", zoneinfo: "string", locale: "string", updated_at: "number",
};
const CLAIMS = {
  profile: PROFILE,
  email: { email: "string", email_verified: "boolean" },
  address: { address: "object" },
  phone: { phone_number: "string", phone_number_verified: "boolean" },
};

/** Sign in with extra parameters; all they must not do is to fail. */
async function succeedsWith(parameters) {
  const party = await register();
  return party.signIn({ parameters });
}

/** Sign in for scopes and check that userinfo, and only userinfo, tells what they stand for. */
async function tellsScopes(scopes, options = {}) {
  const party = await register();
  const done = await party.signIn({ parameters: { scope: ["openid", ...scopes].join(" "), ...options } });
  assert.deepEqual(new Set((done.tokens.scope ?? "").split(" ")), new Set(["openid", ...scopes]), "the scopes are granted");
  for (const [scope, claims] of Object.entries(CLAIMS)) {
    for (const [claim, type] of Object.entries(claims)) {
      assert.equal(done.idToken.claims[claim], undefined, `${claim} is told by userinfo, not by the ID token`);
      if (!scopes.includes(scope)) assert.equal(done.userinfo[claim], undefined, `${claim} was not asked for`);
      if (claim in done.userinfo) assert.equal(typeof done.userinfo[claim], type, `${claim} is a ${type}`);
    }
  }
  if (scopes.includes("email")) {
    assert.equal(done.userinfo.email, done.who.email);
    assert.equal(done.userinfo.email_verified, true);
  }
  if (scopes.includes("profile")) assert.equal(done.userinfo.name, done.who.name);
  return done;
}

async function userinfo(done, party, { method, headers, body }) {
  const answer = await fetch(party.server.userinfo_endpoint, { method, headers, body });
  assert.equal(answer.status, 200);
  const claims = await json(answer);
  assert.equal(claims.sub, done.idToken.claims.sub);
  return claims;
}

/** Sign in twice with one browser; the second time nobody is asked. */
async function twice(party, { first = {}, second = {}, maxAge } = {}) {
  const before = await party.signIn({ parameters: first });
  const parameters = typeof second === "function" ? second(before) : second;
  const after = await party.signIn({ browser: before.browser, who: before.who, parameters, maxAge });
  return { before, after };
}

function checkSameLogin({ before, after }) {
  assert.equal(after.screens.includes("login"), false, "nobody was asked for a password again");
  assert.equal(after.idToken.claims.sub, before.idToken.claims.sub);
  assert.equal(after.idToken.claims.auth_time, before.idToken.claims.auth_time);
}

async function showsErrorPage(registered, redirectUri) {
  const party = await register({ redirect_uris: [registered] });
  const request = await party.request({ redirect_uri: redirectUri });
  const { page } = await arrive(new Browser(ISSUER), request.url);
  checkErrorPage(page);
}

async function eventually(look) {
  for (let tries = 0; tries < 40; tries += 1) {
    const found = await look();
    if (found) return found;
    await pause(500);
  }
  throw new assert.AssertionError({ message: "it did not come true within 20 s" });
}

async function checkCodeIsUsed(party, done) {
  const again = await party.token({
    grant_type: "authorization_code",
    code: done.callback.searchParams.get("code"),
    redirect_uri: REDIRECT_URI,
    code_verifier: done.request.verifier,
  });
  assert.equal(again.status, 400);
  assert.equal((await json(again)).error, "invalid_grant");
  const refused = await fetch(party.server.userinfo_endpoint, {
    headers: { authorization: `Bearer ${done.tokens.access_token}` },
  });
  assert.equal(refused.status, 401, "the access token was revoked with its code (RFC 6749, 4.1.2)");
}

describe("basic", { concurrency: 4 }, () => {
  test("oidcc-server", async () => {
    const party = await register();
    const done = await party.signIn();
    assert.ok(done.screens.includes("login"));
    const { claims } = done.idToken;
    assert.deepEqual([claims.aud].flat(), [party.client.client_id]);
    if (claims.at_hash) {
      // openid-client has compared it; here only that it is there in the registered form.
      assert.match(claims.at_hash, /^[A-Za-z0-9_-]{22}$/);
    }
    for (const claim of ["name", "email", "phone_number", "address"]) assert.equal(claims[claim], undefined);
    assert.deepEqual(Object.keys(done.userinfo), ["sub"], "only what openid stands for");
  });

  test("oidcc-response-type-missing", async () => {
    const party = await register();
    const request = await party.request({ response_type: undefined });
    const { page } = await arrive(new Browser(ISSUER), request.url);
    if (!page.left) return checkErrorPage(page);
    checkErrorCallback(page.left, request, ["invalid_request", "unsupported_response_type"]);
  });

  test("oidcc-idtoken-signature", async () => {
    for (const alg of ["RS256", undefined]) {
      const party = await register(alg ? { id_token_signed_response_alg: alg } : {});
      const done = await party.signIn();
      if (alg) assert.equal(done.idToken.header.alg, alg);
      const { keys } = await party.keys();
      assert.ok(keys.some((key) => key.kid === done.idToken.header.kid && (key.alg ?? done.idToken.header.alg) === done.idToken.header.alg));
    }
  });

  test("oidcc-userinfo-get", async () => {
    const party = await register();
    const done = await party.signIn();
    await userinfo(done, party, { method: "GET", headers: { authorization: `Bearer ${done.tokens.access_token}` } });
  });

  test("oidcc-userinfo-post-header", async () => {
    const party = await register();
    const done = await party.signIn();
    await userinfo(done, party, { method: "POST", headers: { authorization: `Bearer ${done.tokens.access_token}` } });
  });

  test("oidcc-userinfo-post-body", async () => {
    const party = await register();
    const done = await party.signIn();
    await userinfo(done, party, { method: "POST", body: new URLSearchParams({ access_token: done.tokens.access_token }) });
  });

  test("oidcc-ensure-request-without-nonce-succeeds-for-code-flow", async () => {
    const done = await succeedsWith({ nonce: undefined });
    assert.equal(done.idToken.claims.nonce, undefined);
  });

  test("oidcc-scope-profile", () => tellsScopes(["profile"]));
  test("oidcc-scope-email", () => tellsScopes(["email"]));
  test("oidcc-scope-address", () => tellsScopes(["address"]));
  test("oidcc-scope-phone", () => tellsScopes(["phone"]));
  test("oidcc-scope-all", () => tellsScopes(["profile", "email", "address", "phone"]));

  test("oidcc-alternate-happy-flow", async () => {
    const party = await register();
    const request = await party.request({ scope: "email openid" });
    const reversed = [...request.url.searchParams].reverse();
    request.url.search = new URLSearchParams(reversed).toString();
    const who = person();
    const { page } = await arrive(new Browser(ISSUER), request.url, { who });
    checkCallback(page.left, request);
    const tokens = await party.redeem(request, page.left);
    const { claims } = await party.checkIdToken(tokens, request);
    assert.equal(claims.email, undefined);
    const told = await openid.fetchUserInfo(party.configuration, tokens.access_token, claims.sub);
    assert.equal(told.email, who.email);
    assert.equal(told.name, undefined);
  });

  test("oidcc-display-page", () => succeedsWith({ display: "page" }));
  test("oidcc-display-popup", () => succeedsWith({ display: "popup" }));

  test("oidcc-prompt-login", async () => {
    const party = await register();
    const before = await party.signIn();
    await pause(1100); // auth_time counts seconds
    const after = await party.signIn({ browser: before.browser, who: before.who, parameters: { prompt: "login" } });
    assert.ok(after.screens.includes("login"), "the person was asked again");
    assert.equal(after.idToken.claims.sub, before.idToken.claims.sub);
    assert.ok(after.idToken.claims.auth_time > before.idToken.claims.auth_time, "auth_time is the new login's");
  });

  test("oidcc-prompt-none-not-logged-in", async () => {
    const party = await register();
    const request = await party.request({ prompt: "none" }, { stateLength: 128 });
    const { page, screens } = await arrive(new Browser(ISSUER), request.url);
    assert.deepEqual(screens, []);
    checkErrorCallback(page.left, request, INTERACTION_ERRORS);
  });

  test("oidcc-prompt-none-logged-in", async () => {
    const both = await twice(await register(), { second: { prompt: "none" } });
    assert.deepEqual(both.after.screens, []);
    checkSameLogin(both);
  });

  test("oidcc-max-age-1", async () => {
    const party = await register();
    const before = await party.signIn();
    await pause(2100); // the module's own two seconds: with one the login would still be young enough
    const after = await party.signIn({ browser: before.browser, who: before.who, parameters: { max_age: "1" }, maxAge: 1 });
    assert.ok(after.screens.includes("login"), "the person was asked again");
    const { auth_time: authTime } = after.idToken.claims;
    assert.ok(authTime > (before.idToken.claims.auth_time ?? 0));
    assert.ok(Math.abs(Date.now() / 1000 - authTime) < 60, "auth_time is recent");
  });

  test("oidcc-max-age-10000", async () => {
    const both = await twice(await register(), { first: { max_age: "15000" }, second: { max_age: "10000" }, maxAge: 10000 });
    assert.ok(both.before.idToken.claims.auth_time, "auth_time is told where max_age is asked");
    checkSameLogin(both);
  });

  test("oidcc-ensure-request-with-unknown-parameter-succeeds", () => succeedsWith({ extra: "foobar" }));

  test("oidcc-id-token-hint", async () => {
    const both = await twice(await register(), { second: (before) => ({ prompt: "none", id_token_hint: before.idToken.jwt }) });
    assert.deepEqual(both.after.screens, []);
    checkSameLogin(both);
  });

  test("oidcc-login-hint", async () => {
    const party = await register();
    const who = person();
    const request = await party.request({ login_hint: who.email });
    const browser = new Browser(ISSUER);
    const first = await browser.visit(request.url);
    assert.ok(first.root.querySelectorAll("input").some((field) => field.getAttribute("value") === who.email), "the form is filled in");
    await party.signIn({ who, parameters: { login_hint: who.email } });
  });

  test("oidcc-ui-locales", () => succeedsWith({ ui_locales: "se de-CH" }));
  test("oidcc-claims-locales", () => succeedsWith({ claims_locales: "se" }));

  test("oidcc-ensure-request-with-acr-values-succeeds", async () => {
    const party = await register();
    const asked = (party.server.acr_values_supported ?? ["1", "2"]).join(" ");
    const done = await party.signIn({ parameters: { acr_values: asked } });
    if (done.idToken.claims.acr !== undefined) assert.ok(asked.split(" ").includes(done.idToken.claims.acr));
  });

  test("oidcc-codereuse", async () => {
    const party = await register();
    await checkCodeIsUsed(party, await party.signIn());
  });

  test("oidcc-codereuse-30seconds", async () => {
    const party = await register();
    const done = await party.signIn();
    await pause(30_000); // what the module is about
    await checkCodeIsUsed(party, done);
  });

  test("oidcc-ensure-registered-redirect-uri", () => showsErrorPage(REDIRECT_URI, `${REDIRECT_URI}/${crypto.randomUUID()}`));

  test("oidcc-ensure-post-request-succeeds", async () => {
    const party = await register();
    await party.signIn({ method: "POST" });
  });

  test("oidcc-server-client-secret-post", async () => {
    const party = await register({ token_endpoint_auth_method: "client_secret_post" });
    assert.equal(party.client.token_endpoint_auth_method, "client_secret_post");
    await party.signIn();
  });

  test("oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported", async () => {
    const party = await register();
    const request = await party.request({ request_uri: "https://rp.example/request.jwt#k8s", state: undefined });
    const { page } = await arrive(new Browser(ISSUER), request.url);
    assert.equal(party.server.request_uri_parameter_supported, false);
    checkErrorCallback(page.left, request, ["request_uri_not_supported"]);
  });

  test("oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported", async () => {
    const party = await register();
    const inside = new jose.UnsecuredJWT({ state: "inside", scope: "openid" }).encode();
    const request = await party.request({ request: inside, state: undefined });
    const { page } = await arrive(new Browser(ISSUER), request.url);
    assert.notEqual(party.server.request_parameter_supported, true);
    checkErrorCallback(page.left, request, ["request_not_supported"]);
  });

  test("oidcc-claims-essential", async () => {
    const party = await register();
    const claims = JSON.stringify({ userinfo: { name: { essential: true } } });
    const done = await party.signIn({ parameters: { claims } });
    assert.equal(done.userinfo.name, done.who.name, "userinfo tells the claim that was asked for by name");
    assert.equal(done.idToken.claims.name, undefined);
  });

  test("oidcc-refresh-token", async () => {
    const metadata = { grant_types: ["authorization_code", "refresh_token"] };
    const [one, two] = [await register(metadata), await register(metadata)];
    assert.ok(one.server.grant_types_supported.includes("refresh_token"));
    const refreshed = [];
    for (const party of [one, two]) {
      const done = await party.signIn({ parameters: { scope: "openid offline_access", prompt: "consent" } });
      assert.match(done.tokens.refresh_token ?? "", /^[\x20-\x7e]+$/, "a refresh token was issued");
      const next = await openid.refreshTokenGrant(party.configuration, done.tokens.refresh_token);
      assert.notEqual(next.access_token, done.tokens.access_token);
      if (next.id_token) {
        const { claims } = await party.checkIdToken(next, { parameters: {} });
        assert.equal(claims.sub, done.idToken.claims.sub);
        assert.equal(claims.iss, done.idToken.claims.iss);
        assert.deepEqual([claims.aud].flat(), [done.idToken.claims.aud].flat());
        assert.equal(claims.auth_time, done.idToken.claims.auth_time, "auth_time stays the login's");
        assert.ok(claims.iat >= done.idToken.claims.iat);
      }
      await openid.fetchUserInfo(party.configuration, next.access_token, done.idToken.claims.sub);
      refreshed.push(next.refresh_token ?? done.tokens.refresh_token);
    }
    const stolen = await one.token({ grant_type: "refresh_token", refresh_token: refreshed[1] });
    assert.equal(stolen.status, 400);
    assert.equal((await json(stolen)).error, "invalid_grant");
  });

  test("oidcc-ensure-request-with-valid-pkce-succeeds", async () => {
    const done = await succeedsWith({});
    assert.equal(done.request.parameters.code_challenge_method, "S256");
  });

  test("oidcc-redirect-uri-query-OK", async () => {
    const redirectUri = `${REDIRECT_URI}?foo=bar`;
    const party = await register({ redirect_uris: [redirectUri] });
    const done = await party.signIn({ parameters: { redirect_uri: redirectUri } });
    assert.equal(done.callback.searchParams.get("foo"), "bar", "the registered query is kept");
  });

  test("oidcc-redirect-uri-query-mismatch", () => showsErrorPage(`${REDIRECT_URI}?foo=bar`, `${REDIRECT_URI}?foo=baz`));
  test("oidcc-redirect-uri-query-added", () => showsErrorPage(REDIRECT_URI, `${REDIRECT_URI}?foo=bar`));

  test("oidcc-server-rotate-keys", async () => {
    const party = await register();
    const done = await party.signIn();
    const before = await checkKeys(party.server.jwks_uri);
    const [command, ...rest] = JSON.parse(process.env.ECHO_ROTATE);
    await promisify(execFile)(command, rest);
    const kids = (keys) => new Set(keys.map((key) => key.kid));
    // Every process reads the keys again after a few seconds.
    const after = await eventually(async () => {
      const keys = await checkKeys(party.server.jwks_uri);
      return keys.some((key) => !kids(before).has(key.kid)) && keys;
    });
    assert.ok(kids(after).has(done.idToken.header.kid), "the old key is still there");
    const later = await eventually(async () => {
      const next = await (await register()).signIn();
      return next.idToken.header.kid !== done.idToken.header.kid && next;
    });
    assert.ok(kids(before).has(later.idToken.header.kid), "the key that signs now had been published ahead");
    await openid.fetchUserInfo(party.configuration, done.tokens.access_token, done.idToken.claims.sub);
  });
});
