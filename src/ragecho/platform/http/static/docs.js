// Starts Swagger UI. The description's address stands in the page, so that a mounted application finds its own.
"use strict";
window.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("docs");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", follow);
  follow();
  window.SwaggerUIBundle({
    domNode: place,
    url: place.dataset.openapi,
    presets: [window.SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    deepLinking: true,
    // The default sends the description to a validator on the internet.
    validatorUrl: null,
    persistAuthorization: false,
  });
});
