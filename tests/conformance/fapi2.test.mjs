// The modules of OIDF plan "FAPI 2.0 Security Profile Final" that do not depend on DPoP, mTLS or private_key_jwt.
import { describe, test } from "node:test";
import { REDIRECT_URI, arrive, assert, Browser, checkCallback, checkErrorCallback, checkErrorPage, ISSUER, json, openid, register } from "./lib/relying_party.mjs";

/** Neither a code nor a token comes back: an error page, or one of `errors` at the redirect URI. */
async function isRefused(request, errors) {
  const { page } = await arrive(new Browser(ISSUER), request.url);
  if (!page.left) return checkErrorPage(page);
  assert.equal(page.left.searchParams.get("access_token"), null);
  assert.doesNotMatch(page.left.hash, /access_token|id_token/);
  checkErrorCallback(page.left, request, errors);
}

/** A code whose redemption is then tried with `verifier`. */
async function redeemWith(verifier) {
  const party = await register();
  const request = await party.request();
  const { page } = await arrive(new Browser(ISSUER), request.url);
  const code = checkCallback(page.left, request);
  const body = { grant_type: "authorization_code", code, redirect_uri: REDIRECT_URI };
  const answer = await party.token(verifier === undefined ? body : { ...body, code_verifier: verifier });
  assert.equal(answer.status, 400);
  return (await json(answer)).error;
}

async function push(party, parameters) {
  const { client_id: id, client_secret: secret } = party.client;
  return fetch(party.server.pushed_authorization_request_endpoint, {
    method: "POST",
    headers: { authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}` },
    body: new URLSearchParams(parameters),
  });
}

/** The pushed request is refused at once, or its request_uri is when the browser brings it. */
async function isRefusedPushed(parameters) {
  const party = await register();
  const request = await party.request(parameters);
  const answer = await push(party, request.parameters);
  const body = await json(answer);
  if (answer.status !== 201) {
    assert.equal(answer.status, 400);
    assert.equal(body.error, "invalid_request");
    return;
  }
  const url = new URL(party.server.authorization_endpoint);
  url.search = new URLSearchParams({ client_id: party.client.client_id, request_uri: body.request_uri }).toString();
  await isRefused({ ...request, url }, ["invalid_request"]);
}

describe("fapi2", { concurrency: 4 }, () => {
  test("fapi2-security-profile-final-ensure-pkce-code-verifier-required", async () => {
    assert.ok(["invalid_grant", "invalid_request"].includes(await redeemWith(undefined)));
  });

  test("fapi2-security-profile-final-incorrect-pkce-code-verifier-rejected", async () => {
    assert.equal(await redeemWith(openid.randomPKCECodeVerifier()), "invalid_grant");
  });

  test("fapi2-security-profile-final-par-ensure-pkce-required", async () => {
    await isRefusedPushed({ code_challenge: undefined, code_challenge_method: undefined });
    // What is not pushed must not be let through either; and a good request must be, or the above proves nothing.
    const party = await register();
    const bare = await party.request({ code_challenge: undefined, code_challenge_method: undefined });
    await isRefused(bare, ["invalid_request"]);
    const request = await party.request();
    const url = await openid.buildAuthorizationUrlWithPAR(party.configuration, request.parameters);
    const { page } = await arrive(new Browser(ISSUER), url);
    checkCallback(page.left, request);
    await party.redeem(request, page.left);
  });

  test("fapi2-security-profile-final-par-plain-pkce-rejected", async () => {
    const verifier = openid.randomPKCECodeVerifier();
    await isRefusedPushed({ code_challenge: verifier, code_challenge_method: "plain" });
    await isRefusedPushed({ code_challenge: verifier, code_challenge_method: undefined });
    const party = await register();
    await isRefused(await party.request({ code_challenge: verifier, code_challenge_method: "plain" }), ["invalid_request"]);
  });

  test("fapi2-security-profile-final-ensure-response-type-token-fails", async () => {
    const party = await register();
    for (const type of ["token", "id_token", "code token", "code id_token", "id_token token"]) {
      await isRefused(await party.request({ response_type: type }), ["unsupported_response_type", "invalid_request", "unauthorized_client"]);
    }
  });

  test("fapi2-security-profile-final-user-rejects-authentication", async () => {
    const party = await register();
    const request = await party.request({ scope: "openid email", prompt: "login consent" });
    const { page, screens } = await arrive(new Browser(ISSUER), request.url, { consent: false });
    assert.ok(screens.includes("consent"));
    checkErrorCallback(page.left, request, ["access_denied"]);
  });

  test("fapi2-security-profile-final-ensure-authorization-request-without-state-success", async () => {
    const party = await register();
    await party.signIn({ parameters: { state: undefined } });
  });

  test("fapi2-security-profile-final-ensure-authorization-request-with-long-state", async () => {
    const party = await register();
    await party.signIn({ stateLength: 384 });
  });
});
