(() => {
  "use strict";
  const $ = id => document.getElementById(id), main = document.querySelector("main"), data = main.dataset;
  let source;
  const follow = () => {
    source = new EventSource("/events?page=" + encodeURIComponent(data.page));
    source.addEventListener("page", event => {
      $("lost").hidden = true;
      for (const [name, part] of Object.entries(JSON.parse(event.data))) {
        if (name === "title") { document.title = part; continue; }
        const place = $(name);
        if (place) place.innerHTML = part;
      }
    });
    source.onerror = () => {
      $("lost").hidden = false;
      if (source.readyState === EventSource.CLOSED) setTimeout(follow, 3000);
    };
  };
  follow();
  const steer = $("steer");
  if (!steer) return;
  steer.hidden = false;
  const say = text => { $("answer").textContent = text; };
  const send = async (verb, args) => {
    const order = { verb, arguments: args || "", why: $("why").value, by: $("by").value };
    if (data.run) order.table = data.table;
    if (["pause", "set", "cut-over"].includes(verb)) order.for = $("for").value;
    say("…");
    try {
      const answer = await fetch("/orders", {
        method: "POST",
        headers: { "Authorization": "Bearer " + $("token").value.trim(), "Content-Type": "application/json" },
        body: JSON.stringify(order),
      });
      const told = await answer.json();
      say(answer.ok ? "order " + told.order + ": accepted: " + told.answer
        : told.message + (told.help ? " (" + told.help + ")" : ""));
    } catch (error) { say("no answer: " + error.message); }
  };
  const dialog = $("confirm"), typed = $("typed"), sure = $("sure");
  let verb = "";
  typed.oninput = () => { sure.disabled = typed.value !== data.table; };
  dialog.onclose = () => { if (dialog.returnValue === "yes" && typed.value === data.table) send(verb); };
  for (const button of steer.querySelectorAll("button[data-verb]")) {
    button.onclick = () => {
      verb = button.dataset.verb;
      if (button.classList.contains("danger")) {
        typed.value = ""; sure.disabled = true; dialog.returnValue = "";
        $("what").textContent = sure.textContent = button.textContent;
        dialog.showModal();
      } else send(verb, verb === "set" ? $("set").value : "");
    };
  }
  steer.onsubmit = event => event.preventDefault();
})();
