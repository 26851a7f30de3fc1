"use strict";

const $ = (id) => document.getElementById(id);
const MOST_TILES = 12, POLL_MS = 1000, GRAPH_POINTS = 120;
const state = { recipes: [], set: new Map(), next: 0, paused: false, polls: [], rates: [], tiles: new Map(), turn: 0 };
let token = sessionStorage.getItem("token") || "";

async function ask(path, kind = "json") {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, cache: "no-cache" });
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({ error: answer.statusText }));
    const problem = new Error(told.error);
    problem.status = answer.status;
    throw problem;
  }
  return answer[kind]();
}

function say(problem) {
  const text = problem ? problem.message : "";
  if ($("problem").textContent !== text) $("problem").textContent = text;
  $("problem").hidden = !text;
  const locked = Boolean(problem && problem.status === 401);
  if (locked && $("token-form").hidden) {
    $("token-form").hidden = false;
    $("token").focus();
  }
}

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const current = () => state.recipes.find((one) => one.name === $("recipe").value) || state.recipes[0];
const variant = () => [current().name, ...[...state.set].map(([field, value]) => `${field}=${value}`)].join(",");
const seed = () => ($("seed").validity.valid && $("seed").value) || "0";

// ---------------------------------------------------------------- samples

function restart() {
  state.next = 0;
  state.turn += 1;
  for (const key of [...state.tiles.keys()]) drop(key);
  snippets();
}

function drop(key) {
  const tile = state.tiles.get(key);
  tile.querySelectorAll("img").forEach((image) => URL.revokeObjectURL(image.src));
  tile.remove();
  state.tiles.delete(key);
}

async function show(recipe, seedText, index) {
  const key = `${recipe}/${seedText}/${index}`, turn = state.turn;
  if (state.tiles.has(key)) return;
  const base = `v1/${encodeURIComponent(recipe)}/samples/${seedText}/${index}`;
  const blobs = await Promise.all(["image.png", "overlay.png"].map((part) => ask(`${base}/${part}`, "blob")));
  if (turn !== state.turn || state.tiles.has(key)) return;
  const [image, overlay] = blobs.map((blob) => make("img", { src: URL.createObjectURL(blob) }));
  image.alt = `Rendered sample ${index} of ${recipe}, seed ${seedText}`;
  overlay.alt = "";
  overlay.className = "overlay";
  overlay.style.opacity = $("opacity").value / 100;
  const stack = make("div", { className: "stack" }, image, overlay);
  const tile = make("li", {}, make("figure", {}, stack, make("figcaption", { textContent: `seed ${seedText}, index ${index}` })));
  state.tiles.set(key, tile);
  $("wall").prepend(tile);
  while (state.tiles.size > MOST_TILES) drop(state.tiles.keys().next().value);
}

async function own() {
  if (!state.paused && !document.hidden && state.recipes.length) {
    try {
      await show(variant(), seed(), state.next);
      state.next += 1;
    } catch (problem) {
      if (problem.status !== 429) say(problem);
    }
  }
  setTimeout(own, POLL_MS);
}

// ---------------------------------------------------------------- how it stands

async function poll() {
  try {
    if (!document.hidden) {
      const now = await ask("live");
      if (!state.recipes.length) await begin();
      standing(now);
      say(null);
      if (!state.paused) {
        const others = now.newest.filter((one) => one.recipe === variant() && String(one.seed) !== seed());
        for (const one of others.reverse()) await show(one.recipe, String(one.seed), one.index);
      }
    }
  } catch (problem) {
    say(problem instanceof TypeError ? new Error("The gateway does not answer.") : problem);
  }
  setTimeout(poll, POLL_MS);
}

function standing(now) {
  state.polls.push(now);
  if (state.polls.length > 5) state.polls.shift();
  const [first, last] = [state.polls[0], now];
  const seconds = last.seconds - first.seconds;
  const rate = seconds > 0 ? (last.rendered - first.rendered) / seconds : 0;
  state.rates = [...state.rates, Math.max(0, rate)].slice(-GRAPH_POINTS);
  const most = Math.max(1, ...state.rates);
  $("line").setAttribute("points", state.rates.map((one, at) => `${GRAPH_POINTS - state.rates.length + at},${23 - 22 * one / most}`).join(" "));
  $("rate").textContent = `${rate.toFixed(1)} /s`;
  $("delivered").textContent = now.delivered.toLocaleString("en");
  $("workers").textContent = `${now.workers.ready} of ${now.workers.wanted}`;
  for (const name of ["starved", "waiting", "streams"]) $(name).textContent = now[name];
}

// ---------------------------------------------------------------- choosing

async function begin() {
  state.recipes = (await ask("v1")).recipes;
  $("recipe").replaceChildren(...state.recipes.map((one) => make("option", { value: one.name, textContent: one.name })));
  $("token-form").hidden = true;
  knobs();
}

function knobs() {
  state.set.clear();
  const list = current().knobs;
  $("knobs").hidden = !list.length;
  $("knobs").open = window.matchMedia("(min-width: 48rem)").matches;
  $("sliders").replaceChildren(...list.map((knob) => {
    const id = `knob-${knob.field}`, value = make("output", { textContent: knob.value });
    value.setAttribute("for", id);
    const slider = make("input", { id, type: "range", min: knob.least, max: knob.most, step: "any", value: knob.value });
    // Arrow keys move by a hundredth of the way, as a range with a fixed step would.
    slider.step = Number(((knob.most - knob.least) / 100).toPrecision(1));
    slider.value = knob.value;
    slider.addEventListener("input", () => { value.textContent = slider.value; });
    slider.addEventListener("change", () => { state.set.set(knob.field, bounded(slider.value, knob)); restart(); });
    return make("div", { className: "field" }, make("label", { htmlFor: id }, `${knob.label} `, value), slider);
  }));
  restart();
}

function bounded(text, knob) {
  const value = Math.min(knob.most, Math.max(knob.least, Number(text)));
  return String(Number(value.toFixed(6)));
}

// ---------------------------------------------------------------- how to connect

function snippets() {
  const base = location.href.replace(/[?#].*$/, "").replace(/\/$/, ""), name = variant(), number = seed();
  const url = `${base}/v1/${name}`;
  const curl = token ? `-H "Authorization: Bearer $NANOSTREAM_TOKEN" ` : "";
  const shards = `${url}/shards/${number}/{000000..999999}.tar`;
  const texts = {
    "PyTorch, with nanostream": `import nanostream as ns\n\n# A token is read from NANOSTREAM_TOKEN.\nstream = ns.StreamingDataset("${url}", seed=${number}, batch_size=16)\nfor batch in stream:\n    batch["image"], batch["mask"]`,
    "WebDataset": `import webdataset as wds\n\nurls = ${token ? `'pipe:curl -sf ${curl}${shards}'` : `"${shards}"`}\nfor sample in wds.WebDataset(urls, shardshuffle=False).decode("l8"):\n    sample["image.png"], sample["mask.npy.gz"]`,
    "Zarr": token
      ? `import os\n\nimport zarr\n\nheaders = {"Authorization": "Bearer " + os.environ["NANOSTREAM_TOKEN"]}\nstore = zarr.open("${url}/zarr/${number}", mode="r", storage_options={"headers": headers})\nstore["image"][123456], store["mask"][123456]`
      : `import zarr\n\nstore = zarr.open("${url}/zarr/${number}", mode="r")\nstore["image"][123456], store["mask"][123456]`,
    "One sample": `curl -f ${curl}"${url}/samples/${number}/17?format=npz" -o 17.npz`,
  };
  $("snippets").replaceChildren(...Object.entries(texts).map(([title, text]) => {
    const copy = make("button", { type: "button", textContent: "Copy" });
    copy.setAttribute("aria-label", `Copy: ${title}`);
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text).then(() => { copy.textContent = "Copied"; }, () => { copy.textContent = "Select it to copy"; });
      setTimeout(() => { copy.textContent = "Copy"; }, 2000);
    });
    const code = make("pre", { tabIndex: 0 }, make("code", { textContent: text }));
    code.setAttribute("aria-label", title);
    return make("div", { className: "snippet" }, make("div", { className: "row" }, make("h3", { textContent: title }), copy), code);
  }));
}

// ---------------------------------------------------------------- listening

$("choose").addEventListener("submit", (event) => event.preventDefault());
$("recipe").addEventListener("change", knobs);
$("seed").addEventListener("change", restart);
$("reset").addEventListener("click", knobs);
$("opacity").addEventListener("input", () => {
  $("opacity-value").textContent = `${$("opacity").value} %`;
  document.querySelectorAll(".overlay").forEach((image) => { image.style.opacity = $("opacity").value / 100; });
});
$("pause").addEventListener("click", () => {
  state.paused = !state.paused;
  $("pause").setAttribute("aria-pressed", String(state.paused));
  $("pause").textContent = state.paused ? "Go on" : "Pause";
});
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  sessionStorage.setItem("token", token);
  say(null);
});

poll();
own();
