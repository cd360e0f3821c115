// The account pages. Whatever comes from the server is shown as text, never as HTML.

const API = "/api/v1";
const $ = (id) => document.getElementById(id);
const show = (id, visible = true) => { $(id).hidden = !visible; };

class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `the server answered with status ${status}`);
    this.status = status;
  }
}

async function call(method, path, body) {
  const sent = body === undefined ? {} : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(API + path, { method, ...sent });
  const text = await answer.text();
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    // no JSON: the status says enough
  }
  if (!answer.ok) throw new Refused(answer.status, value ?? {});
  return value;
}

// Run something that a person asked for, and say what went wrong.
async function attempt(work) {
  show("problem", false);
  try {
    await work();
  } catch (error) {
    $("problem").textContent = error.message;
    show("problem");
  }
}

function onSubmit(id, work) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => work(Object.fromEntries(new FormData($(id)))));
  });
}

function row(cells, label, work) {
  const line = document.createElement("tr");
  for (const text of cells) line.insertCell().textContent = text ?? "";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.addEventListener("click", () => attempt(work));
  line.insertCell().append(button);
  return line;
}

const moment = (text) => (text ? new Date(text).toLocaleString() : "");

async function all(path) {
  const items = [];
  let cursor = "";
  do {
    const page = await call("GET", `${path}?limit=500${cursor}`);
    items.push(...page.items);
    cursor = page.nextCursor ? `&cursor=${encodeURIComponent(page.nextCursor)}` : "";
  } while (cursor);
  return items;
}

async function showTokens() {
  const items = await all("/tokens");
  $("tokens").replaceChildren(...items.map((item) => row(
    [item.name, item.scopes?.join(" ") ?? "all", moment(item.createdAt), moment(item.expiresAt) || "never",
      item.lastUsedAt ? `${moment(item.lastUsedAt)} from ${item.lastUsedAddress}` : "never"],
    "Delete",
    async () => {
      await call("DELETE", `/tokens/${encodeURIComponent(item.id)}`);
      await showTokens();
    },
  )));
}

async function showSessions() {
  const items = await all("/sessions");
  $("sessions").replaceChildren(...items.filter((item) => !item.isCurrent).map((item) => row(
    [item.userAgent, item.address, moment(item.createdAt), moment(item.seenAt)],
    "End",
    async () => {
      await call("DELETE", `/sessions/${encodeURIComponent(item.id)}`);
      await showSessions();
    },
  )));
}

async function showAccount(me) {
  $("who").textContent = me.displayName === me.name ? me.name : `${me.displayName} (${me.name})`;
  show("account");
  if (!me.id) return; // developer mode: there is no account
  show("own");
  await showTokens();
  await showSessions();
}

async function showSignIn() {
  const offered = await call("GET", "/login");
  show("sign-in", offered.password);
  if (offered.openid) {
    $("openid").firstElementChild.href = `${offered.openid.url}?next=/`;
    show("openid");
  }
}

async function start() {
  if (location.pathname === "/setup") {
    show("setup");
    return;
  }
  try {
    await showAccount(await call("GET", "/me"));
  } catch (error) {
    if (error.status !== 401 && error.status !== 403) throw error;
    await showSignIn();
    if (error.status === 403) throw error; // signed in, but not let in: somebody else may be
  }
}

// The secret of the link stays in this script only: not in the address bar, nor in the history.
const secret = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
if (secret) history.replaceState(null, "", location.pathname);

onSubmit("setup", async ({ name, password }) => {
  await call("POST", "/setup", { token: secret || "none", name, password });
  location.assign("/");
});
onSubmit("sign-in", async ({ name, password }) => {
  await call("POST", "/session", { name, password });
  location.assign("/");
});
onSubmit("new-token", async ({ name, days, scopes }) => {
  const body = { name };
  if (days) body.expiresAt = new Date(Date.now() + Number(days) * 86400000).toISOString();
  if (scopes.trim()) body.scopes = scopes.trim().split(/[\s,]+/);
  $("secret").value = (await call("POST", "/tokens", body)).token;
  show("made");
  $("new-token").reset();
  await showTokens();
});
$("sign-out").addEventListener("click", () => attempt(async () => {
  const answer = await call("DELETE", "/session");
  location.assign(answer?.logoutUrl ?? "/login");
}));
attempt(start);
