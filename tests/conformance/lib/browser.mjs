// A plain user agent: one cookie jar, redirects, and the forms that the pages really show. No JavaScript is run,
// because the provider's pages must work without.
import { parse } from "node-html-parser";
import { CookieJar } from "tough-cookie";

const MAX_HOPS = 20;

/** What a visit ended with: a page of the provider, or the address outside of it that the browser was sent to. */
export class Page {
  constructor({ url, status, headers, html, left }) {
    this.url = url;
    this.status = status;
    this.headers = headers;
    this.html = html;
    this.left = left;
    this.root = parse(html ?? "");
  }

  get text() {
    return this.root.structuredText.trim();
  }

  form(test) {
    return this.root.querySelectorAll("form").find(test);
  }
}

export class Browser {
  constructor(home) {
    this.home = new URL(home).origin;
    this.jar = new CookieJar();
    this.statuses = [];
  }

  /** Go to `url` and follow redirects until a page, or until the provider sends us elsewhere. */
  async visit(url, { method = "GET", body, from } = {}) {
    let target = new URL(url);
    for (let hop = 0; hop < MAX_HOPS; hop += 1) {
      if (target.origin !== this.home) return new Page({ left: target });
      const headers = { cookie: await this.jar.getCookieString(target.href), accept: "text/html" };
      if (method === "POST") {
        headers["content-type"] = "application/x-www-form-urlencoded";
        headers.origin = this.home;
        if (from) headers.referer = from;
      }
      const answer = await fetch(target, { method, body, headers, redirect: "manual" });
      this.statuses.push(answer.status);
      for (const cookie of answer.headers.getSetCookie()) await this.jar.setCookie(cookie, target.href);
      const location = answer.headers.get("location");
      if (answer.status >= 300 && answer.status < 400 && location) {
        await answer.body?.cancel();
        target = new URL(location, target);
        if (answer.status !== 307 && answer.status !== 308) {
          method = "GET";
          body = undefined;
        }
        continue;
      }
      const html = await answer.text();
      return new Page({ url: target, status: answer.status, headers: answer.headers, html });
    }
    throw new Error(`more than ${MAX_HOPS} redirects, the last to ${target}`);
  }

  /** Send a form as its page shows it, with `values` typed in and, where given, `button` pressed. */
  async submit(page, form, values = {}, button = undefined) {
    const fields = new URLSearchParams();
    for (const field of form.querySelectorAll("input, select, textarea")) {
      const name = field.getAttribute("name");
      const type = (field.getAttribute("type") ?? "text").toLowerCase();
      if (!name || ["submit", "button", "image", "reset"].includes(type)) continue;
      if (["checkbox", "radio"].includes(type) && !field.hasAttribute("checked")) continue;
      fields.append(name, values[name] ?? field.getAttribute("value") ?? "");
    }
    for (const [name, value] of Object.entries(values)) if (!fields.has(name)) fields.append(name, value);
    if (button?.getAttribute("name")) fields.append(button.getAttribute("name"), button.getAttribute("value") ?? "");
    const action = new URL(button?.getAttribute("formaction") ?? form.getAttribute("action") ?? "", page.url);
    const method = (form.getAttribute("method") ?? "get").toUpperCase();
    if (method === "POST") return this.visit(action, { method, body: fields.toString(), from: page.url.href });
    action.search = fields.toString();
    return this.visit(action);
  }
}
