// Starts the panel. Trunk writes the names of its files into the page (Trunk.toml).

const { script, wasm } = document.getElementById("panel").dataset;

try {
  const { default: init } = await import(script);
  await init({ module_or_path: wasm });
} catch (error) {
  // A page that stays white explains nothing.
  const sorry = document.createElement("p");
  sorry.setAttribute("role", "alert");
  sorry.textContent = `This page could not start: ${error}. Reload it, or use a current browser with WebAssembly.`;
  document.body.append(sorry);
  throw error;
}
