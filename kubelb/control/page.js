"use strict";
(() => {
  const EVERY = 1000, PATIENCE = 4000; // milliseconds
  const live = document.getElementById("live");
  const silence = document.getElementById("silence");
  let answered = new Date();
  let timer = 0;
  let asking = false;

  // Only what differs is changed, so that what is selected or pointed at stays so.
  function take(old, fresh) {
    if (old.nodeName !== fresh.nodeName) {
      old.replaceWith(fresh);
    } else if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
    } else {
      takeAttributes(old, fresh);
      const had = [...old.childNodes], has = [...fresh.childNodes];
      has.forEach((node, place) => place < had.length ? take(had[place], node) : old.append(node));
      had.slice(has.length).forEach((node) => node.remove());
    }
  }

  function takeAttributes(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  }

  async function ask() {
    const answer = await fetch("fragment", { signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(answer.statusText);
    const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
    return parsed.getElementById("live");
  }

  function show(fresh) {
    // Another kubelb is there, whose page is another one.
    if (fresh.dataset.look !== live.dataset.look) return location.reload();
    take(live, fresh);
    document.title = live.dataset.title;
    answered = new Date();
    document.body.classList.remove("old");
    silence.hidden = true;
  }

  function miss() {
    const text = `No answer since ${answered.toLocaleTimeString()}. Everything below is as it was then.`;
    if (silence.textContent !== text) silence.textContent = text;
    silence.hidden = false;
    document.body.classList.add("old");
    document.title = "No answer · kubelb";
  }

  async function look() {
    clearTimeout(timer);
    if (document.hidden || asking) return;
    asking = true;
    try {
      show(await ask());
    } catch {
      miss();
    }
    asking = false;
    timer = setTimeout(look, EVERY);
  }

  document.addEventListener("visibilitychange", look);
  timer = setTimeout(look, EVERY);
})();
