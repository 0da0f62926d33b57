// `openid-client` with `private_key_jwt`: pushed request, code, refresh, each authenticated by a signed assertion.
import { test } from "node:test";
import { arrive, assert, Browser, checkCallback, ISSUER, jose, openid, register } from "../lib/relying_party.mjs";

test("private_key_jwt", async () => {
  const { privateKey, publicKey } = await jose.generateKeyPair("ES256", { extractable: true });
  const jwk = { ...(await jose.exportJWK(publicKey)), kid: "one", alg: "ES256", use: "sig" };
  const metadata = {
    token_endpoint_auth_method: "private_key_jwt",
    grant_types: ["authorization_code", "refresh_token"],
    jwks: { keys: [jwk] },
  };
  const party = await register(metadata, openid.PrivateKeyJwt({ key: privateKey, kid: "one" }));
  assert.equal(party.client.client_secret, undefined, "there is no secret to keep");
  const request = await party.request({ scope: "openid offline_access", prompt: "consent" });
  const url = await openid.buildAuthorizationUrlWithPAR(party.configuration, request.parameters);
  const { page } = await arrive(new Browser(ISSUER), url);
  checkCallback(page.left, request);
  const tokens = await party.redeem(request, page.left);
  await party.checkIdToken(tokens, request);
  const refreshed = await openid.refreshTokenGrant(party.configuration, tokens.refresh_token);
  assert.notEqual(refreshed.access_token, tokens.access_token);

  // The same client with a key that it never registered.
  const stranger = await jose.generateKeyPair("ES256");
  const forged = new openid.Configuration(party.server, party.client.client_id, {}, openid.PrivateKeyJwt({ key: stranger.privateKey, kid: "one" }));
  openid.allowInsecureRequests(forged);
  await assert.rejects(openid.refreshTokenGrant(forged, refreshed.refresh_token), (error) => error.status === 401);
  await openid.refreshTokenGrant(party.configuration, refreshed.refresh_token);
});
