"use strict";
// spec: client-server-api/#login-fallback
const form = document.getElementById("login");
const told = document.getElementById("told");

function tell(text, isError) {
  told.textContent = text;
  told.className = isError ? "error" : "";
  told.hidden = false;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = {
    type: "m.login.password",
    identifier: { type: "m.id.user", user: form.elements.user.value.trim() },
    password: form.elements.password.value,
  };
  for (const [name, value] of new URLSearchParams(window.location.search)) {
    if (name === "device_id" || name === "initial_device_display_name") body[name] = value;
    if (name === "refresh_token") body[name] = value === "true";
  }
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const answer = await fetch("/_matrix/client/v3/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const response = await answer.json();
    if (answer.ok) {
      form.hidden = true;
      tell(form.dataset.done, false);
      if (window.matrixLogin && window.matrixLogin.onLogin) window.matrixLogin.onLogin(response);
    } else {
      tell(answer.status === 429 ? form.dataset.often : answer.status === 403 ? form.dataset.wrong : form.dataset.failed, true);
      form.elements.password.focus();
    }
  } catch {
    tell(form.dataset.failed, true);
  } finally {
    button.disabled = false;
  }
});
