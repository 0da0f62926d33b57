// A single-page application as the documentation of `oidc-client-ts` shows it; public client, PKCE, tokens in memory of
// the tab only.
import { UserManager, WebStorageStateStore } from "oidc-client-ts";

const { authority, client_id } = await (await fetch("/settings.json")).json();
const here = `${location.origin}/`;
const manager = new UserManager({
  authority,
  client_id,
  redirect_uri: here,
  post_logout_redirect_uri: `${here}?signed-out`,
  scope: "openid email offline_access",
  loadUserInfo: true,
  userStore: new WebStorageStateStore({ store: sessionStorage }),
});

function show(state) {
  document.getElementById("state").textContent = JSON.stringify(state);
}

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    show({ error: String(error) });
  }
}

function told(user) {
  return { email: user.profile.email, sub: user.profile.sub, access: user.access_token, id: Boolean(user.id_token) };
}

document.getElementById("sign-in").addEventListener("click", () => attempt(() => manager.signinRedirect({ prompt: "consent" })));
document.getElementById("sign-out").addEventListener("click", () => attempt(() => manager.signoutRedirect()));
document.getElementById("renew").addEventListener("click", () => attempt(async () => show(told(await manager.signinSilent()))));

await attempt(async () => {
  if (location.search.includes("code=") || location.search.includes("error=")) {
    const user = await manager.signinRedirectCallback();
    history.replaceState(null, "", "/");
    return show(told(user));
  }
  if (location.search.includes("signed-out")) await manager.removeUser();
  const user = await manager.getUser();
  show(user ? told(user) : { signedOut: true });
});
