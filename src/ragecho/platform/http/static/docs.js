// Starts Swagger UI. The description's address stands in the page, so that a mounted application finds its own.
"use strict";
window.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("docs");
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
