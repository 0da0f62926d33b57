// Passkeys (WebAuthn) for the sign-in, second-factor and security pages. Everything the script needs stands in data-*
// attributes of its buttons; what a person reads comes from the server, in the page's language.

const problem = document.getElementById("passkey-problem");
let waiting = null; // the request that offers passkeys in the e-mail field's suggestions

const bytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");

// Browsers from before 2025 lack the JSON forms of WebAuthn level 3.
const creationOptions = (json) =>
  PublicKeyCredential.parseCreationOptionsFromJSON?.(json) ?? {
    ...json,
    challenge: bytes(json.challenge),
    user: { ...json.user, id: bytes(json.user.id) },
    excludeCredentials: (json.excludeCredentials ?? []).map((item) => ({ ...item, id: bytes(item.id) })),
  };
const requestOptions = (json) =>
  PublicKeyCredential.parseRequestOptionsFromJSON?.(json) ?? {
    ...json,
    challenge: bytes(json.challenge),
    allowCredentials: (json.allowCredentials ?? []).map((item) => ({ ...item, id: bytes(item.id) })),
  };

function asJson(credential) {
  if (typeof credential.toJSON === "function") return credential.toJSON();
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = text(credential.response[name]);
  }
  response.transports = credential.response.getTransports?.() ?? [];
  return {
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    response,
    clientExtensionResults: credential.getClientExtensionResults(),
    authenticatorAttachment: credential.authenticatorAttachment ?? undefined,
  };
}

async function post(button, url, body) {
  const answer = await fetch(url, {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": button.dataset.csrf },
    body: JSON.stringify({
      interaction: button.dataset.interaction ?? "",
      next: button.dataset.next ?? "",
      ...body,
    }),
  });
  const content = await answer.json().catch(() => ({}));
  if (content.location) {
    location.assign(content.location);
    return null;
  }
  if (!answer.ok) throw new ServerRefusal(content.problem ?? button.dataset.failed);
  return content;
}

class ServerRefusal extends Error {}

function show(message) {
  problem.textContent = message;
  problem.hidden = !message;
}

function messageOf(button, error) {
  if (error instanceof ServerRefusal) return error.message;
  if (error.name === "InvalidStateError" && button.dataset.known) return button.dataset.known;
  return error.name === "NotAllowedError" ? button.dataset.cancelled : button.dataset.failed;
}

async function signIn(button, extra = {}) {
  const offer = await post(button, button.dataset.options, {});
  if (offer === null) return;
  const credential = await navigator.credentials.get({ publicKey: requestOptions(offer.options), ...extra });
  await post(button, button.dataset.verify, { challenge_id: offer.challenge_id, credential: asJson(credential) });
}

async function register(button) {
  const offer = await post(button, button.dataset.options, {});
  if (offer === null) return;
  const credential = await navigator.credentials.create({ publicKey: creationOptions(offer.options) });
  await post(button, button.dataset.verify, { challenge_id: offer.challenge_id, credential: asJson(credential) });
}

async function offerInSuggestions(button) {
  if (!(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
  waiting = new AbortController();
  try {
    await signIn(button, { mediation: "conditional", signal: waiting.signal });
  } catch (error) {
    // Nobody asked for this yet: only what the server says of a chosen passkey is worth a message.
    if (error instanceof ServerRefusal) show(error.message);
  }
}

function prepare(button, act) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    waiting?.abort();
    show("");
    button.disabled = true;
    try {
      await act(button);
    } catch (error) {
      show(messageOf(button, error));
    } finally {
      button.disabled = false;
    }
  });
}

const signInButton = document.getElementById("passkey-sign-in");
const addButton = document.getElementById("passkey-add");

if (window.PublicKeyCredential && navigator.credentials) {
  document.getElementById("passkey-or")?.removeAttribute("hidden");
  if (signInButton) {
    prepare(signInButton, signIn);
    if (signInButton.dataset.autofill === "yes") offerInSuggestions(signInButton);
  }
  if (addButton) prepare(addButton, register);
} else {
  // Where there is nothing else on the page, it says why; the login page has other ways.
  show((signInButton ?? addButton)?.dataset.unsupported ?? "");
}
