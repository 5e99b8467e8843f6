// What pages do beyond being read: follow what happens, copy, check forms, themes, local times.
(function () {
  "use strict";
  const $ = (selector, root) => (root || document).querySelector(selector);
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));

  // Instants by the browser's clock; the server's stays in the title.
  function times(root) {
    for (const time of all("time[datetime]:not(.ago)", root)) {
      const at = new Date(time.dateTime);
      if (time.dataset.shown || isNaN(at)) continue;
      time.dataset.shown = "1";
      time.title = time.textContent + " (server)";
      const two = (n) => String(n).padStart(2, "0");
      time.textContent = at.getFullYear() + "-" + two(at.getMonth() + 1) + "-" + two(at.getDate()) +
        " " + two(at.getHours()) + ":" + two(at.getMinutes()) + ":" + two(at.getSeconds());
    }
  }

  // Copying.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "✓";
    } catch (_) {
      const range = document.createRange();
      range.selectNodeContents(button.parentElement.querySelector("code"));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
    }
    setTimeout(() => { button.textContent = before; }, 1500);
  });

  // Dark and light.
  const theme = $("#theme");
  if (theme) theme.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch (_) { /* for this page only */ }
  });

  // Following what happens.
  const live = $("#live"), connection = $("#connection");
  let source = null;
  function tell(text, again) {
    connection.replaceChildren();
    connection.classList.toggle("shown", Boolean(text));
    if (!text) return;
    connection.append(text);
    if (again) {
      const link = document.createElement("a");
      link.href = "/log-in?to=" + encodeURIComponent(location.pathname + location.search);
      link.textContent = connection.dataset.logIn;
      connection.append(" ", link);
    }
  }
  async function ended() {
    // A stream that was refused: the session, or the server.
    try {
      const answer = await fetch(location.href, { redirect: "manual", headers: { accept: "text/html" } });
      if (answer.type === "opaqueredirect" || answer.status === 401) return tell(connection.dataset.ended, true);
      follow();
    } catch (_) {
      setTimeout(ended, 2000);
    }
  }
  function show(text) {
    // What somebody is typing in, or has opened, stays.
    const focus = document.activeElement;
    if (live.contains(focus) && /^(INPUT|SELECT|TEXTAREA)$/.test(focus.tagName)) return;
    const open = all("details[open][id]", live).map((one) => one.id);
    const focused = live.contains(focus) ? focus.id : "";
    const next = document.createElement("template");
    next.innerHTML = text;
    live.replaceChildren(next.content);
    for (const id of open) { const one = document.getElementById(id); if (one) one.open = true; }
    if (focused) { const one = document.getElementById(focused); if (one) one.focus(); }
    times(live);
  }
  function follow() {
    if (!live || source) return;
    source = new EventSource(live.dataset.follow);
    source.addEventListener("shown", (event) => { tell(""); show(event.data); });
    source.addEventListener("open", () => tell(""));
    source.addEventListener("ended", () => { source.close(); source = null; tell(connection.dataset.ended, true); });
    source.addEventListener("error", () => {
      tell(connection.dataset.lost);
      if (source.readyState === EventSource.CLOSED) { source = null; setTimeout(ended, 1000); }
    });
  }
  if (live && live.dataset.follow) {
    follow();
    // A page that nobody looks at holds no connection.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && source) { source.close(); source = null; }
      if (!document.hidden) follow();
    });
  }

  // Forms that are checked while they are filled in.
  for (const form of all("form[data-check]")) {
    const findings = $("[data-findings]", form);
    let timer = null, asked = 0;
    const check = async () => {
      const number = ++asked;
      const body = new URLSearchParams(new FormData(form));
      try {
        const answer = await fetch(form.dataset.check, { method: "POST", body });
        if (number !== asked || !answer.ok) return;
        findings.innerHTML = await answer.text();
        times(findings);
      } catch (_) { /* the server says it when the form is sent */ }
    };
    form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(check, 250); });
    form.addEventListener("change", () => { clearTimeout(timer); timer = setTimeout(check, 50); });
    check();
  }

  // Filters that act at once.
  for (const form of all("form[data-at-once]")) {
    form.addEventListener("change", () => form.requestSubmit());
  }

  // All boxes of a table.
  for (const box of all("input[data-all]")) {
    box.addEventListener("change", () => {
      for (const one of all('input[name="' + box.dataset.all + '"]')) one.checked = box.checked;
    });
  }

  // What cannot be undone is asked for once more.
  document.addEventListener("submit", (event) => {
    const question = event.submitter && event.submitter.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });

  times(document);
})();
