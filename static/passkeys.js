// Asks the browser for a passkey when the user submits a form that needs one, and sends it.
"use strict";

async function optionsOf(form) {
  if (form.dataset.options) {
    return JSON.parse(document.getElementById(form.dataset.options).textContent);
  }
  const headers = { Accept: "application/json" };
  const response = await fetch(form.dataset.optionsFrom, { headers });
  return response.json();
}

async function credentialFor(form) {
  const options = await optionsOf(form);
  if (form.dataset.passkey === "get") {
    const { publicKey } = options.request_options;
    return navigator.credentials.get({
      publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey),
    });
  }
  const { publicKey } = options.creation_options;
  // Require a passkey that identifies the account without a username and verifies the user.
  publicKey.authenticatorSelection = {
    ...publicKey.authenticatorSelection,
    residentKey: "required",
    requireResidentKey: true,
    userVerification: "required",
  };
  return navigator.credentials.create({
    publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey),
  });
}

if (window.PublicKeyCredential?.parseCreationOptionsFromJSON) {
  document.querySelectorAll(".without-passkeys").forEach((note) => (note.hidden = true));
  document.querySelectorAll("form[data-passkey]").forEach((form) => {
    const failed = form.querySelector("[role=alert]");
    form.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      failed.hidden = true;
      try {
        form.elements.credential.value = JSON.stringify(await credentialFor(form));
        form.submit();
      } catch {
        // The user cancelled, or there is no passkey.
        failed.hidden = false;
      }
    });
  });
}
