// Runs before anything is drawn, so that a dark page never flashes white. Kept out of the modules for that.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("moodstream-theme"); } catch { /* storage is forbidden: follow the system */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
