"""The identity service's pages: server-rendered, without inline script or style, usable without JavaScript."""
