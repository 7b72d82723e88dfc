// The service, by its contract: JSON in, JSON out, problems as `Problem`. Addresses are relative, so that a proxy may
// put the page anywhere. A 401 makes the page ask for a key (app.js listens).

export class Problem extends Error {
  constructor(status, body) {
    super(body.title || `status ${status}`);
    this.status = status;
    this.detail = body.detail || "";
    this.todo = body.what_to_do || "";
  }
}

export function address(path, params = {}) {
  const url = new URL(`v1/${path}`, document.baseURI.split("#")[0]);
  for (const [name, value] of Object.entries(params)) if (value !== "" && value !== null && value !== undefined) url.searchParams.set(name, value);
  return url;
}

async function ask(url, options) {
  const early = window.early?.[url.href]; // early.js may have asked this already
  let answer;
  if (early) delete window.early[url.href];
  try { answer = await (early ?? fetch(url, options)); }
  catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "The service does not answer", what_to_do: "Is it still running? Load the page again once it is." });
  }
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 401) dispatchEvent(new CustomEvent("needs-key"));
  throw new Problem(answer.status, body);
}

export const get = (path, params, signal) => ask(address(path, params), { signal });
export const post = (path, body, signal) => ask(address(path), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });
export const remove = path => ask(address(path), { method: "DELETE" });

export function socket(path, params) {
  const url = address(path, params);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return new WebSocket(url);
}

// Who is asking and what the service has; asked once, and again after a key.
let mine = null;
export const me = () => mine ??= get("me").catch(error => { mine = null; throw error; });
export const forgetMe = () => { mine = null; };
