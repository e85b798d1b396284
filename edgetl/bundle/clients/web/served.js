// A page with a file: address may load no modules: it says so, and does not seem to load forever.
if (location.protocol === "file:")
  document.getElementById("status").textContent =
    "This page must be served. Run: python -m http.server, in the bundle's folder, and open http://localhost:8000/clients/web/";
