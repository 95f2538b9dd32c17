"use strict";
// The reader. What was generated is data: it becomes text nodes and nothing else, so that none of it can run.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const list = document.getElementById("list");
  const pane = document.getElementById("row");
  const count = document.getElementById("count");
  const AXES = ["language", "task", "operator", "variation", "kind", "verdict"];
  const PAGE = 100;
  let found = [];
  let at = -1;

  const text = (numbers) => numbers.map((number) => data.lines[number]).join("\n");
  const verdict = (row) => (row.reasons ? row.reasons[0] : "kept");
  const value = (row, axis) => (axis === "verdict" ? verdict(row) : row[axis] || "");
  const language = (row) => data.languages[row.language] || [row.language, row.language, "", "auto"];
  const number = (amount) => amount.toLocaleString("en");

  function make(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, given] of Object.entries(attributes || {})) made.setAttribute(name, given);
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  function prose(row, content) {
    return make("div", { class: "text", dir: "auto", lang: language(row)[2] }, content);
  }

  function label(axis, name) {
    if (axis === "language") return data.languages[name] ? `${data.languages[name][0]} (${name})` : name;
    if (name === "") return axis === "operator" ? "no operator (seeds)" : "no variation";
    return name.replaceAll("_", " ");
  }

  function options(axis) {
    const counts = new Map();
    for (const row of data.rows) counts.set(value(row, axis), (counts.get(value(row, axis)) || 0) + 1);
    const names = [...counts.keys()].sort((one, other) => label(axis, one).localeCompare(label(axis, other)));
    const choices = [make("option", { value: "*" }, "all")];
    const choice = (name, content, amount) => make("option", { value: name }, `${content} (${number(amount)})`);
    if (axis === "verdict") {
      const kept = counts.get("kept") || 0;
      choices.push(choice("=kept", "kept", kept));
      choices.push(choice("!", "rejected", data.rows.length - kept));
      names.splice(0, names.length, ...names.filter((name) => name !== "kept"));
    }
    for (const name of names) choices.push(choice(`=${name}`, label(axis, name), counts.get(name)));
    form.elements[axis].replaceChildren(...choices);
  }

  function passes(row, wanted, words) {
    for (const axis of AXES) {
      const chosen = wanted[axis];
      if (chosen === "*") continue;
      if (chosen === "!" ? !row.reasons : chosen !== `=${value(row, axis)}`) return false;
    }
    if (!words) return true;
    if (row.id.startsWith(words)) return true;
    return row.turns.some((turn) => text(turn[1]).toLocaleLowerCase().includes(words));
  }

  function apply() {
    const wanted = Object.fromEntries(AXES.map((axis) => [axis, form.elements[axis].value]));
    const words = form.elements.words.value.trim().toLocaleLowerCase();
    found = data.rows.filter((row) => passes(row, wanted, words));
    count.textContent = found.length === 1 ? "1 row" : `${number(found.length)} rows`;
    list.replaceChildren();
    more();
    at = -1;
    if (found.length) show(0, false);
    else pane.replaceChildren(make("p", { class: "note" }, "No row is like that. Widen a filter."));
  }

  function more() {
    const start = list.querySelectorAll("li > button.entry").length;
    list.querySelector("li.more")?.remove();
    found.slice(start, start + PAGE).forEach((row, step) => list.append(entry(row, start + step)));
    if (start + PAGE < found.length) {
      const button = make("button", { type: "button" }, `Show more of ${number(found.length)}`);
      button.addEventListener("click", () => {
        more();
        list.querySelectorAll("button.entry")[start + PAGE]?.focus();
      });
      list.append(make("li", { class: "more" }, button));
    }
  }

  function entry(row, place) {
    const under = [language(row)[0], row.operator || row.task, row.variation].filter(Boolean).map((name) => name.replaceAll("_", " "));
    const opening = row.turns.length ? text(row.turns[0][1]) : "";
    const state = row.reasons ? `rejected: ${row.reasons[0].replaceAll("_", " ")}` : "kept";
    const button = make(
      "button",
      { type: "button", class: "entry" },
      make("span", { class: "first", dir: "auto", lang: language(row)[2] }, opening.slice(0, 160) || "(no text)"),
      make("span", { class: "under" }, `${state} · ${under.join(" · ")}`),
    );
    button.addEventListener("click", () => show(place, true));
    return make("li", {}, button);
  }

  function show(place, focus) {
    while (list.querySelectorAll("button.entry").length <= place && list.querySelector("li.more")) more();
    const entries = list.querySelectorAll("button.entry");
    entries[at]?.removeAttribute("aria-current");
    at = place;
    entries[at].setAttribute("aria-current", "true");
    const box = list.getBoundingClientRect();
    const own = entries[at].getBoundingClientRect();
    if (own.top < box.top || own.bottom > box.bottom) list.scrollTop += own.top - box.top - 40;
    pane.replaceChildren(...whole(found[at]));
    if (!focus) return;
    history.replaceState(null, "", `#row=${found[at].id}`);
    pane.focus({ preventScroll: true });
    if (pane.getBoundingClientRect().top < 0 || pane.getBoundingClientRect().top > innerHeight * 0.6) pane.scrollIntoView();
  }

  function whole(row) {
    const [name, own] = language(row);
    const kind = { seed: "A seed", evolved: "An evolved instruction", conversation: "A conversation" }[row.kind] || row.kind;
    const title = make("h3", {}, `${kind} in ${name}`);
    if (own && own !== name) title.append(" · ", make("bdi", { lang: language(row)[2] }, own));
    return [steps(), title, facts(row), why(row), make("h3", {}, "How it came about"), lineage(row)];
  }

  function steps() {
    const button = (content, step) => {
      const made = make("button", { type: "button" }, content);
      made.disabled = !found[at + step];
      made.addEventListener("click", () => show(at + step, true));
      return made;
    };
    return make("div", { class: "steps" }, button("Previous", -1), button("Next", 1));
  }

  function pairs(entries) {
    const shown = entries.filter(([, content]) => content).flatMap(([term, content]) => [make("dt", {}, term), make("dd", {}, content)]);
    return make("dl", { class: "facts" }, ...shown);
  }

  function facts(row) {
    return pairs([
      ["task", row.task.replaceAll("_", " ")],
      ["operator", row.operator && row.operator.replaceAll("_", " ")],
      ["variation", row.variation && row.variation.replaceAll("_", " ")],
      ["row", make("code", {}, row.id)],
    ]);
  }

  function judged(row) {
    if (!row.marks) return null;
    return make("p", { class: "what" }, `A judge’s marks: ${row.marks.map(([name, mark]) => (mark === null ? name : `${name} ${mark}`)).join(", ")}.`);
  }

  function why(row) {
    const box = make("div", { class: row.reasons ? "verdict bad" : "verdict" });
    const marks = judged(row);
    if (!row.reasons) {
      box.append(make("p", {}, make("strong", {}, "Kept. "), `It passed every rule of ${data.filters.length} filters: ${data.filters.join(", ").replaceAll("_", " ")}.`));
      if (marks) box.append(marks);
      return box;
    }
    box.append(make("p", {}, make("strong", {}, "Rejected.")));
    for (const reason of row.reasons) {
      box.append(make("p", {}, data.sentences[reason] || reason, " ", make("code", {}, reason)));
    }
    if (row.error) box.append(make("p", { class: "what" }, row.error));
    if (marks) box.append(marks);
    return box;
  }

  function lineage(row) {
    const way = make("ol", { class: "lineage" });
    const [source, license, origin] = row.source;
    if (row.kind !== "seed") {
      way.append(make("li", {}, make("div", { class: "what" }, `Seed, from ${[source, license, origin].filter(Boolean).join(", ")}`), prose(row, text(row.seed))));
    }
    if (row.operator) {
      const item = make("li", {}, make("div", { class: "what" }, `Made harder by ${row.operator.replaceAll("_", " ")} (${row.family}): the directive`));
      item.append(prose(row, text(row.directive || [])));
      way.append(item);
    }
    const heading = row.kind === "seed" ? `Seed, from ${[source, license, origin].filter(Boolean).join(", ")}` : row.kind === "evolved" ? "Evolved instruction and its answer" : "Conversation";
    way.append(make("li", {}, make("div", { class: "what" }, heading), talk(row)));
    return way;
  }

  function talk(row) {
    const direction = language(row)[3];
    const box = make("div", { class: "talk", dir: direction });
    row.turns.forEach(([role, content], place) => {
      const turn = make("div", { class: `turn ${role === "assistant" ? "assistant" : "user"}` }, make("div", { class: "who" }, role), prose(row, text(content)));
      const asked = call(row, place);
      if (asked) turn.append(asked);
      box.append(turn);
    });
    return box;
  }

  function call(row, place) {
    const made = (row.calls || [])[place];
    if (!made) return null;
    const box = make("details", {}, make("summary", {}, "How it was asked for"));
    const directive = place >= 2 && place % 2 === 0 ? (row.then || [])[place / 2 - 1] : null;
    const tokens = made.tokens ? `${number(made.tokens[0])} of the prompt, ${number(made.tokens[1])} written` : "";
    const fill = () => {
      if (directive) box.append(make("div", { class: "what" }, "What the user was to do"), prose(row, text(directive)));
      box.append(pairs([["model", data.model], ["ended", made.ended], ["asked again", made.attempt ? `${made.attempt} times` : ""], ["tokens", tokens], ["call", make("code", {}, made.key)]]));
      if (made.prompt) box.append(make("div", { class: "what" }, "The prompt as the model saw it"), make("div", { class: "prompt text", dir: "auto", lang: language(row)[2], tabindex: "0" }, text(made.prompt)));
      else box.append(make("p", { class: "what" }, "The prompt is no longer in the store."));
    };
    box.addEventListener("toggle", fill, { once: true });
    return box;
  }

  function keys(event) {
    if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const inside = event.target.closest("#list");
    const step = { j: 1, n: 1, k: -1, p: -1, ArrowDown: inside ? 1 : 0, ArrowUp: inside ? -1 : 0 }[event.key] || 0;
    if (!step || !found[at + step]) return;
    event.preventDefault();
    show(at + step, false);
    if (inside) list.querySelectorAll("button.entry")[at].focus();
  }

  AXES.forEach(options);
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  document.addEventListener("keydown", keys);
  apply();
  const asked = /^#row=(\w+)$/.exec(location.hash);
  const wanted = asked ? found.findIndex((row) => row.id === asked[1]) : -1;
  if (wanted >= 0) show(wanted, true);
})();
